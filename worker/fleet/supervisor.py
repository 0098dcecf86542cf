"""Keeps the processes of a worker running until it is told to stop."""

import signal
import time
from collections.abc import Callable, Sequence

import structlog

from worker.errors import ProcessesError
from worker.fleet.member import Member, describe_exit
from worker.process.stopping import Stopping

HOPELESS = 78
"""Status of a process that ended by an error that no restart cures: sysexits.h calls it a configuration error."""
WRONG_USAGE = 2
POLL_SECONDS = 0.1
"""How long a death, or a signal, waits to be noticed."""

log = structlog.get_logger("worker")


class Supervisor:
    """Watches members on the main thread."""

    def __init__(self, members: Sequence[Member], *, turned: Callable[[], None]) -> None:
        """
        Args:
            members: not started yet.
            turned: called at each turn.
        """
        self._members = members
        self._turned = turned

    def run(self, stopping: Stopping, *, limit_seconds: float) -> None:
        """Runs the members until a signal comes; passes it on and waits until all have ended.

        Args:
            stopping: tells of the signal; a second one ends us at once, and the kernel ends the members then.
            limit_seconds: time that they have to end.

        Raises:
            ProcessesError: one ended by an error that no restart cures, or not in order after the signal.
        """
        try:
            for member in self._members:
                member.start()
            while stopping.signal is None:
                self._turn()
                time.sleep(POLL_SECONDS)
        except BaseException:
            self._end(signal.SIGTERM, limit_seconds)
            raise
        asked = [member for member in self._members if member.is_running]
        self._end(stopping.signal, limit_seconds)
        in_order = (0, -stopping.signal, 128 + stopping.signal)  # the latter two: it was still starting
        if astray := [member for member in asked if member.status not in in_order]:
            raise ProcessesError(f"{_describe(astray)}. What they had under way will be read again.")

    def _turn(self) -> None:
        for member in self._members:
            member.watch()
            if member.status in (HOPELESS, WRONG_USAGE):
                raise ProcessesError(
                    f"process {member.number} of {len(self._members)} ended by an error that no restart cures; its "
                    "line stands above. The others were stopped."
                )
            member.start_when_due()
        self._turned()

    def _end(self, number: int, limit_seconds: float) -> None:
        deadline_seconds = time.monotonic() + limit_seconds
        self._send(number)
        while any(member.is_running for member in self._members):
            if time.monotonic() > deadline_seconds:
                log.error("processes did not stop in time and are killed", limit=limit_seconds)
                self._send(signal.SIGKILL)
                deadline_seconds += limit_seconds
            time.sleep(POLL_SECONDS)
            for member in self._members:
                member.watch()

    def _send(self, number: int) -> None:
        for member in self._members:
            member.send(number)


def _describe(members: Sequence[Member]) -> str:
    return "; ".join(f"process {member.number} ended {describe_exit(member.status)}" for member in members)
