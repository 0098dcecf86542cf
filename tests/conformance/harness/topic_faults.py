"""The input topic changes under the workers: it grows, or loses records that nobody has read yet."""

import time

from harness.arena import PROGRESS_SECONDS, Arena, Strike, wall_clock_ms
from harness.strikes import until_landed
from harness.subject import WorkerProcess

EXPIRED_RECORDS = 50
"""Deleted behind the group's offset, before anybody has read them."""


def add_partitions(arena: Arena, total: int) -> float:
    """The input topic gets partitions, which are fed at once.

    Returns:
        The time in seconds until all of them were answered.
    """

    def strike_once(_: int) -> Strike:
        def grow() -> None:
            arena.facts.add_partitions(arena.input_topic, total)
            arena.feeder.widen(total)
            arena.partitions = total

        asked_ms = wall_clock_ms()
        struck = arena.strike(grow)
        arena.await_progress()
        # It cannot be repeated, so what was answered while the topic grew counts.
        return struck._replace(after_ms=asked_ms)

    arena.await_progress()
    began = time.monotonic()
    list(until_landed(arena, 1, strike_once))
    return time.monotonic() - began


def expire_records(arena: Arena, worker: WorkerProcess) -> int:
    """Ends the worker and deletes records of partition 0 that it has not read.

    Returns:
        How many were deleted unread.
    """
    arena.await_progress()
    worker.terminate()
    assert worker.wait() == 0, worker.log()
    committed = arena.facts.committed(arena.group, arena.input_topic)[0]
    target = committed + EXPIRED_RECORDS
    # More than those that will be gone: something must be left to be answered.
    arena.expect(
        lambda: arena.feeder.offsets()[0] > target + EXPIRED_RECORDS, "records to delete and to keep", PROGRESS_SECONDS
    )
    arena.facts.delete_records(arena.input_topic, 0, before_offset=target)
    return arena.ledger.excuse(0, before_offset=target)
