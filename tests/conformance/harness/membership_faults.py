"""Workers come and go. Each function returns only after it has proved that this happened in mid-work."""

import signal

from harness.arena import PROGRESS_SECONDS, Arena, Strike
from harness.process_faults import kill_alive
from harness.strikes import until_all_landed, until_landed


def storm(arena: Arena, *, rounds: int) -> list[float]:
    """Two workers come, get partitions and go, one by SIGKILL and one for good, so many times. Returns the waits."""

    def strike_once(_: int) -> tuple[Strike, Strike]:
        if former := arena.workers.get("b"):
            former.signal(signal.SIGINT)
            arena.retire(former)
        newcomers = arena.start_worker("b"), arena.start_worker("c")
        arena.await_progress()
        shares = await_shares(arena, "b", "c")
        killed = arena.strike(lambda: kill_alive(newcomers[0]), partitions=shares["b"])
        left = arena.strike(lambda: newcomers[1].signal(signal.SIGINT), partitions=shares["c"])
        arena.retire(newcomers[1])
        # It comes back at once, in the middle of the rebalance that the other's departure has begun.
        arena.await_ready(arena.start_worker("b"))
        arena.await_progress()
        return killed, left

    arena.await_progress()
    return [
        arena.longest_wait(since=killed.moment_seconds) for killed, _ in until_all_landed(arena, rounds, strike_once)
    ]


def scale_in(arena: Arena, name: str) -> float:
    """One of several workers leaves for good (SIGINT); the others take its partitions.

    Returns:
        The longest wait in seconds of the reader of one of them.
    """

    def strike_once(_: int) -> Strike:
        nonlocal moved
        worker = arena.workers.get(name) or arena.start_worker(name)
        moved = await_shares(arena, *arena.workers)[name]
        struck = arena.strike(lambda: worker.signal(signal.SIGINT), partitions=moved)
        assert worker.wait() == 0, worker.log()
        arena.retire(worker)
        arena.await_progress()
        return struck

    moved: set[int] = set()
    arena.await_progress()
    [struck] = until_landed(arena, 1, strike_once)
    return arena.longest_wait(since=struck.moment_seconds, partitions=moved)


def kill_for_good(arena: Arena, name: str, *, seconds: float) -> float:
    """SIGKILLs one of several workers and does not start it again; the others take its partitions.

    Returns:
        The longest wait in seconds of the reader of one of them.
    """

    def strike_once(_: int) -> Strike:
        nonlocal moved
        worker = arena.workers.get(name) or arena.start_worker(name)
        moved = await_shares(arena, *arena.workers)[name]
        struck = arena.strike(lambda: kill_alive(worker), partitions=moved)
        arena.retire(worker)
        arena.await_progress(seconds=seconds)
        return struck

    moved: set[int] = set()
    arena.await_progress()
    [struck] = until_landed(arena, 1, strike_once)
    return arena.longest_wait(since=struck.moment_seconds, partitions=moved)


def await_shares(arena: Arena, *names: str) -> dict[str, set[int]]:
    """Returns when each of the workers owns partitions. Result: every member's name -> its partitions."""
    arena.expect(
        lambda: all(arena.facts.members(arena.group).get(name) for name in names),
        f"{', '.join(names)} own partitions",
        PROGRESS_SECONDS,
    )
    return arena.facts.members(arena.group)
