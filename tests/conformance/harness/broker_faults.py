"""Faults of brokers. Each function returns only after it has proved that they struck in mid-work."""

import os
import signal
import time

from harness.arena import PROGRESS_SECONDS, Arena, Strike, wall_clock_ms
from harness.strikes import pause, until_landed

from deploy.local.kafka.cluster import Cluster
from deploy.local.kafka.errors import BrokerError

DOWN_SECONDS = (1.0, 2.0, 3.0)
REPLICATED_SECONDS = 90
REFUSED_SECONDS = 2.0
"""Without an answer, so that the worker is known to have run into the refusal."""


def kill_broker_and_restart(arena: Arena, *, times: int) -> list[tuple[float, float]]:
    """SIGKILLs brokers in use, the group's coordinator and leaders by turns, and starts them again.

    Returns:
        For each time the longest wait in seconds of the reader of one partition, and of the feeder that writes to one:
        no worker can be faster than the brokers let a plain producer be.
    """
    nodes = arena.cluster.nodes

    def strike_once(attempt: int) -> Strike:
        arena.expect(lambda: arena.facts.is_fully_replicated(*arena.topics), "all replicas in sync", REPLICATED_SECONDS)
        node = nodes[_choose_broker(arena, attempt) - 1]  # ids count from 1
        struck = arena.strike(node.kill)
        pause(DOWN_SECONDS[attempt % len(DOWN_SECONDS)])
        node.start()
        arena.cluster.wait_until_ready()
        arena.await_progress()
        return struck

    arena.await_progress()
    return [
        (
            arena.longest_wait(since=struck.moment_seconds),
            arena.ledger.longest_confirmation(since=struck.moment_seconds),
        )
        for struck in until_landed(arena, times, strike_once)
    ]


def refuse_writes(arena: Arena) -> float:
    """Lets the brokers refuse every prediction for a while; one that is alone stands still.

    Returns:
        The time in seconds from their change of mind until every partition is answered again.
    """
    recoveries = []

    def strike_once(_: int) -> Strike:
        struck = arena.strike(lambda: _refuse(arena))
        since = time.monotonic()
        arena.expect(
            lambda: time.monotonic() - max(since, arena.ledger.last_answer_seconds) > REFUSED_SECONDS,
            "nothing is answered while writes are refused",
            PROGRESS_SECONDS,
        )
        struck = struck._replace(after_ms=wall_clock_ms(), pending=arena.ledger.pending())
        _accept_again(arena)
        accepted = time.monotonic()
        arena.await_progress()
        recoveries.append(time.monotonic() - accepted)
        return struck

    arena.await_progress()
    list(until_landed(arena, 1, strike_once))
    return recoveries[-1]


def start_missing(cluster: Cluster) -> None:
    """Starts the nodes that were killed, and returns when all serve."""
    for node in cluster.nodes:
        try:
            node.check_alive()
        except BrokerError:
            node.start()
    cluster.wait_until_ready()


def _choose_broker(arena: Arena, attempt: int) -> int:
    """The group's coordinator, and by turns the leader of an output partition that is not the coordinator."""
    coordinator = arena.facts.coordinator(arena.group)
    others = set(arena.facts.leaders(arena.output_topic).values()) - {coordinator}
    return min(others) if attempt % 2 and others else coordinator


def _refuse(arena: Arena) -> None:
    nodes = arena.cluster.nodes
    if len(nodes) > 1:
        # One replica is missing, and all of them are asked for.
        arena.facts.configure_topic(arena.output_topic, min_insync_replicas=str(len(nodes)))
        nodes[_choose_broker(arena, 1) - 1].kill()
    else:
        # Whatever one broker can be made to refuse with blames the record, which is then refused for good.
        os.kill(_pid(arena), signal.SIGSTOP)


def _accept_again(arena: Arena) -> None:
    if len(arena.cluster.nodes) > 1:
        start_missing(arena.cluster)
        arena.facts.configure_topic(arena.output_topic, min_insync_replicas=None)
    else:
        os.kill(_pid(arena), signal.SIGCONT)


def _pid(arena: Arena) -> int:
    [node] = arena.cluster.nodes
    assert node.pid is not None, "the broker runs"
    return node.pid
