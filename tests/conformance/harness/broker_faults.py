"""Faults of brokers. Each function returns only after it has proved that they struck in mid-work."""

import os
import signal
import time
from collections.abc import Callable
from typing import NamedTuple

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


class Refusal(NamedTuple):
    """Writes were refused, and then allowed again."""

    recovery_seconds: float
    """From the change of mind until every partition was answered again."""
    ended: list[str]
    """Logs of the workers that ended over it."""


def refuse_writes(arena: Arena, name: str) -> Refusal:
    """Has brokers that are whole refuse everything that is written to the outputs, and take it again after a while.

    A worker may wait, or end with another status than 0: then it is started again, as an orchestrator would.
    """
    outputs = arena.topics[1:]
    recoveries: list[float] = []
    ended: list[str] = []

    def supervise() -> None:
        worker = arena.workers[name]
        if worker.status is not None:
            assert worker.status > 0, worker.log()
            ended.append(worker.log())
            arena.start_worker(name)

    def strike_once(_: int) -> Strike:
        struck = arena.strike(lambda: arena.facts.forbid_writes(*outputs))
        struck = _while_nothing_is_answered(arena, struck, supervise)
        arena.facts.allow_writes(*outputs)
        allowed = time.monotonic()
        arena.await_progress(meanwhile=supervise)
        recoveries.append(time.monotonic() - allowed)
        return struck

    arena.await_progress()
    list(until_landed(arena, 1, strike_once))
    return Refusal(recoveries[-1], ended)


def withdraw_broker(arena: Arena) -> float:
    """Takes away for a while what the output topic needs: a replica, of several brokers; one that is alone hangs.

    Returns:
        The time in seconds from its return until every partition is answered again.
    """
    recoveries = []

    def strike_once(_: int) -> Strike:
        struck = _while_nothing_is_answered(arena, arena.strike(lambda: _withdraw(arena)))
        _give_back(arena)
        returned = time.monotonic()
        arena.await_progress()
        recoveries.append(time.monotonic() - returned)
        return struck

    arena.await_progress()
    list(until_landed(arena, 1, strike_once))
    return recoveries[-1]


def _while_nothing_is_answered(arena: Arena, struck: Strike, meanwhile: Callable[[], object] = lambda: None) -> Strike:
    """Returns after a silence. What counts is what waits then."""
    since = time.monotonic()

    def is_silent() -> bool:
        meanwhile()
        return time.monotonic() - max(since, arena.ledger.last_answer_seconds) > REFUSED_SECONDS

    arena.expect(is_silent, "nothing is answered while nothing can be written", PROGRESS_SECONDS)
    return struck._replace(after_ms=wall_clock_ms(), pending=arena.ledger.pending())


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


def _withdraw(arena: Arena) -> None:
    nodes = arena.cluster.nodes
    if len(nodes) > 1:
        # One replica is missing, and all of them are asked for.
        arena.facts.configure_topic(arena.output_topic, min_insync_replicas=str(len(nodes)))
        nodes[_choose_broker(arena, 1) - 1].kill()
    else:
        os.kill(_pid(arena), signal.SIGSTOP)


def _give_back(arena: Arena) -> None:
    if len(arena.cluster.nodes) > 1:
        start_missing(arena.cluster)
        arena.facts.configure_topic(arena.output_topic, min_insync_replicas=None)
    else:
        os.kill(_pid(arena), signal.SIGCONT)


def _pid(arena: Arena) -> int:
    [node] = arena.cluster.nodes
    assert node.pid is not None, "the broker runs"
    return node.pid
