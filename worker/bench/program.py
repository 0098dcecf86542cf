"""A program under measurement: started with settings of its own, watched, and ended."""

import ctypes
import os
import signal
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Mapping, Sequence
from types import TracebackType
from typing import Self

from worker.bench.errors import BenchError
from worker.process.parentage import PR_SET_PDEATHSIG

STOP_SECONDS = 30.0
"""Longer than a worker takes to drain."""
TAIL_LINES = 5


class Program:
    """Runs from `__enter__` to `__exit__`; dies with us, whatever becomes of us."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, name: str) -> None:
        """
        Args:
            command: program and arguments.
            environment: all of its variables.
            name: how messages call it.
        """
        self._command, self._environment, self._name = command, environment, name

    def require_alive(self) -> None:
        """
        Raises:
            BenchError: it ended.
        """
        if (status := self._process.poll()) is not None:
            raise BenchError(f"{self._name} ended with status {status} before it was done: {self._tail()}")

    def __enter__(self) -> Self:
        self._output = tempfile.TemporaryFile()
        try:
            self._process = subprocess.Popen(
                self._command,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=self._output,
                stderr=subprocess.STDOUT,
                # A Ctrl-C at the terminal reaches us alone, and we end it in order.
                start_new_session=True,
                preexec_fn=_die_with_parent,  # noqa: PLW1509 - it takes no lock
            )
        except OSError as error:
            self._output.close()
            raise BenchError(f"{self._name} cannot be started: {self._command[0]}: {error.strerror}.") from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self._process.terminate()
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass
        finally:
            # What it started is in its session, too.
            if self._process.poll() is None:
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._output.close()

    def _tail(self) -> str:
        self._output.seek(0)
        lines = deque(self._output, maxlen=TAIL_LINES)
        return b" ".join(line.strip() for line in lines).decode(errors="replace") or "it printed nothing"


def _die_with_parent() -> None:
    if sys.platform == "linux":
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


_LIBC = ctypes.CDLL(None)
"""Loaded before the fork: what runs between fork and exec may neither import nor load."""
