"""The input topic changes under the workers: it grows, or loses records that nobody has read yet."""

import signal
import time
from typing import NamedTuple

from harness.arena import PROGRESS_SECONDS, Arena, Strike, wall_clock_ms
from harness.strikes import until_landed
from harness.subject import WorkerProcess

EXPIRED_RECORDS = 50
"""At least so many are deleted before anybody has read them, and as many are left behind them."""


def add_partitions(arena: Arena, more: int) -> float:
    """The input topic gets partitions, which are fed at once.

    Returns:
        The time in seconds until all of them were answered.
    """
    recoveries = []

    def strike_once(_: int) -> Strike:
        def grow() -> None:
            total = arena.partitions + more
            arena.facts.add_partitions(arena.input_topic, total)
            arena.feeder.widen(total)
            arena.partitions = total

        # What was under way stood in the partitions of before: those that are new wait in any case.
        struck = arena.strike(grow)
        arena.await_progress()
        recoveries.append(time.monotonic() - struck.moment_seconds)
        return struck

    arena.await_progress()
    list(until_landed(arena, 1, strike_once))
    return recoveries[-1]


class Gap(NamedTuple):
    """Records of partition 0 that are gone from the log."""

    strike: Strike
    committed: int
    """Where the group stood then."""
    target: int
    """First offset that is left."""


def expire_under(arena: Arena, worker: WorkerProcess) -> Gap:
    """Suspends a worker at work, deletes records of partition 0 that it has not read, and lets it meet the gap."""
    arena.await_progress()
    struck = arena.strike(lambda: worker.signal(signal.SIGSTOP))
    # A fetch that was under way takes what is there now, and little more.
    target = arena.facts.ends(arena.input_topic)[0] + EXPIRED_RECORDS
    committed = arena.facts.committed(arena.group, arena.input_topic)[0]
    arena.expect(
        lambda: arena.feeder.offsets()[0] > target + EXPIRED_RECORDS, "records to delete and to keep", PROGRESS_SECONDS
    )
    arena.facts.delete_records(arena.input_topic, 0, before_offset=target)
    struck = struck._replace(after_ms=wall_clock_ms())
    worker.signal(signal.SIGCONT)
    return Gap(struck, committed, target)


def excuse(arena: Arena, gap: Gap) -> int:
    """Excuses what nobody can have answered: of the records that are gone those that the group had not got past.

    Returns:
        How many they were.
    """
    # What was read before they were deleted may be answered, and that answer be on its way.
    arena.await_end_of_outputs()
    return arena.ledger.excuse(0, range(gap.committed, gap.target))
