"""Signals to a worker. Each function returns only after it has proved that they struck in mid-work."""

import signal
import time

from harness.arena import Arena, Strike, wall_clock_ms
from harness.strikes import pause, until_landed
from harness.subject import WorkerProcess

DOWN_SECONDS = (0.3, 0.6, 0.9)
"""How long a worker stays away, by turns: less than the second after which an orchestrator starts it again."""


def kill_and_restart(arena: Arena, name: str, *, times: int) -> list[float]:
    """SIGKILLs the worker and starts its successor within a second, so many times.

    Returns:
        For each time, the longest wait in seconds of the reader of one partition.
    """

    def strike_once(attempt: int) -> Strike:
        worker = arena.workers[name]
        struck = arena.strike(lambda: kill_alive(worker))
        pause(DOWN_SECONDS[attempt % len(DOWN_SECONDS)])
        # Whatever is stamped from now on was answered by the successor.
        struck = struck._replace(after_ms=wall_clock_ms())
        arena.start_worker(name)
        arena.await_progress()
        return struck

    arena.await_progress()
    return [arena.longest_wait(since=struck.moment_seconds) for struck in until_landed(arena, times, strike_once)]


def terminate_and_restart(arena: Arena, name: str, *, times: int) -> list[float]:
    """SIGTERMs the worker, which ends with status 0, and starts its successor, so many times. Returns the waits."""

    def strike_once(_: int) -> Strike:
        worker = arena.workers[name]
        struck = arena.strike(worker.terminate)
        assert worker.wait() == 0, f"SIGTERM should end it in order\n{worker.log()}"
        arena.start_worker(name)
        arena.await_progress()
        return struck

    arena.await_progress()
    return [arena.longest_wait(since=struck.moment_seconds) for struck in until_landed(arena, times, strike_once)]


def suspend_and_replace(arena: Arena, name: str, *, seconds: float) -> WorkerProcess:
    """SIGSTOPs the worker, starts another of the same name, and SIGCONTs it when that one has taken over.

    Args:
        arena: the case.
        name: of both.
        seconds: the worker is suspended at least so long.

    Returns:
        The one that was suspended; it must end by itself.
    """

    def strike_once(_: int) -> Strike:
        suspended.append(arena.workers[name])
        struck = arena.strike(lambda: suspended[-1].signal(signal.SIGSTOP))
        struck = struck._replace(after_ms=wall_clock_ms())
        arena.start_worker(name)
        arena.await_progress()
        pause(max(0.0, struck.moment_seconds + seconds - time.monotonic()))
        suspended[-1].signal(signal.SIGCONT)
        return struck

    suspended: list[WorkerProcess] = []
    arena.await_progress()
    list(until_landed(arena, 1, strike_once))
    return suspended[-1]


def suspend_until_expelled(arena: Arena, name: str, *, seconds: float) -> float:
    """SIGSTOPs one of several workers until the others answer its partitions, then SIGCONTs it.

    Returns:
        The longest wait in seconds of the reader of one partition.
    """

    def strike_once(_: int) -> Strike:
        worker = arena.workers[name]
        struck = arena.strike(lambda: worker.signal(signal.SIGSTOP))
        struck = struck._replace(after_ms=wall_clock_ms())
        arena.await_progress(seconds=seconds)
        assert not arena.facts.members(arena.group).get(name), f"{name} should own nothing any more"
        worker.signal(signal.SIGCONT)
        return struck

    arena.await_progress()
    [struck] = until_landed(arena, 1, strike_once)
    return arena.longest_wait(since=struck.moment_seconds)


def kill_alive(worker: WorkerProcess) -> None:
    """SIGKILL, to a process that must still be there."""
    worker.signal(signal.SIGKILL)
    assert worker.wait() == -signal.SIGKILL, f"it had ended by itself before it was killed\n{worker.log()}"
