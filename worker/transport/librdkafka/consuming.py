"""How a member of a group reads through librdkafka."""

from typing import Any

from worker.transport.terms import HEARTBEAT_MS, MAX_POLL_SECONDS, PARTITION_FETCH_BYTES

QUEUE_BYTES = 2 * 1024 * 1024
"""Fetched ahead at most, and in one answer. Every pause throws it away, to be fetched again: on a starved machine a
worker with four times as much was sent each record twenty times over."""
QUEUE_BACKOFF_MS = 20
"""How long a full queue rests. The library's second would cap the throughput at one queue a second."""
FETCH_WAIT_MS = 100
"""How long a fetch waits where nothing is left to read. A seek waits as long, for the fetch that is under way: with the
library's 500 ms every abort and every rebalance would cost half a second."""


def consumer_properties(group_id: str, instance: str, session_timeout_seconds: float) -> dict[str, Any]:
    """Properties of a consumer that commits nothing by itself, and reads nothing that it was not sent to.

    Args:
        group_id: consumer group.
        instance: static member id.
        session_timeout_seconds: after this silence the group gives the partitions away.
    """
    return {
        "group.id": group_id,
        "group.instance.id": instance,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "partition.assignment.strategy": "cooperative-sticky",
        "session.timeout.ms": int(session_timeout_seconds * 1000),
        "heartbeat.interval.ms": HEARTBEAT_MS,
        "max.poll.interval.ms": int(max(MAX_POLL_SECONDS, session_timeout_seconds) * 1000),
        "auto.offset.reset": "error",
        "queued.max.messages.kbytes": QUEUE_BYTES // 1024,
        "fetch.max.bytes": QUEUE_BYTES,
        "fetch.message.max.bytes": PARTITION_FETCH_BYTES,
        "fetch.queue.backoff.ms": QUEUE_BACKOFF_MS,
        "fetch.wait.max.ms": FETCH_WAIT_MS,
        # The marks that end transactions take offsets too: only this tells that nothing stands behind them.
        "enable.partition.eof": True,
    }
