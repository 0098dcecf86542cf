"""One process of several: started, watched, and started again."""

import signal
import subprocess
import time
from collections.abc import Callable

import structlog

from worker.fleet.backoff import Backoff

log = structlog.get_logger("worker")


class Member:
    """A process, and those that take its place when it dies. Started and watched on the main thread."""

    def __init__(self, number: int, start: Callable[[], "subprocess.Popen[bytes]"], *, host: str) -> None:
        """
        Args:
            number: counted from 0.
            start: starts the process.
            host: where its pages are; see `worker.process.http_server`.
        """
        self.number = number
        self.host = host
        self.lives = 0
        """How often it was started."""
        self.status: int | None = None
        """How the last process ended; None while it is there."""
        self._start = start
        self._backoff = Backoff()
        self._process: subprocess.Popen[bytes] | None = None
        self._since_seconds = 0.0
        self._due_seconds = 0.0

    @property
    def is_running(self) -> bool:
        """Whether the process is there, as far as was seen."""
        return self._process is not None

    @property
    def age_seconds(self) -> float:
        """Time since the last start."""
        return time.monotonic() - self._since_seconds

    def start(self) -> None:
        """Starts the process."""
        self._since_seconds = time.monotonic()
        self._process = self._start()
        self.lives += 1
        self.status = None

    def watch(self) -> None:
        """Notices that the process has ended; `status` says how, and the next one is due after a pause."""
        if self._process is None or (status := self._process.poll()) is None:
            return
        self._pause(lived_seconds=self.age_seconds)
        self._process = None
        self.status = status

    def start_when_due(self) -> None:
        """Starts a process that is not there, once the pause is over. If the system cannot, it is tried again."""
        if self._process is not None or time.monotonic() < self._due_seconds:
            return
        log.warning("a process died and is started again", number=self.number, ended=describe_exit(self.status))
        try:
            self.start()
        except OSError as error:
            self._pause(lived_seconds=0)
            log.error("a process cannot be started now", number=self.number, reason=str(error))

    def _pause(self, *, lived_seconds: float) -> None:
        self._due_seconds = time.monotonic() + self._backoff.pause_seconds(lived_seconds=lived_seconds)

    def send(self, number: int) -> None:
        """Sends the process a signal, if it is there."""
        if self._process is not None:
            self._process.send_signal(number)


def describe_exit(status: int | None) -> str:
    """How a process ended, in words."""
    if status is not None and status < 0:
        return f"by {signal.Signals(-status).name}"
    return f"with status {status}"
