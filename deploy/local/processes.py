"""Child processes that never outlive us.

=================================  ====================================================================
how we end                         what ends the child
=================================  ====================================================================
normally, by an error, by Ctrl-C   `ChildProcess.stop`: SIGTERM, then SIGKILL to its process group
SIGTERM, SIGHUP                    the same: `interrupt_on_termination` turns them into Ctrl-C
SIGKILL, crash                     the kernel: every child is started through `deploy.local.tether`
=================================  ====================================================================

A child gets a session of its own, so a Ctrl-C at the terminal reaches only us and we end the children in our order.
"""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import FrameType, TracebackType
from typing import Self

from deploy.local import tether

# The kernel ends a tethered child when the thread that forked it ends. This thread lives as long as the process, so
# children may be started from threads that do not.
_forking_thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="fork")


class ChildProcess:
    """A program that is running; use it as a context manager, or call `stop`."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        name: str,
        output: Path,
        environment: Mapping[str, str] | None = None,
        inherited: Mapping[str, str] | None = None,
        grace_seconds: float = 10.0,
    ) -> None:
        """Starts the program.

        Args:
            command: program and arguments.
            name: how messages call it.
            output: file that takes its stdout and stderr; appended to. Its stdin is a pipe that stays empty, and ends
                when we do.
            environment: variables in addition to the inherited ones.
            inherited: by default all of ours.
            grace_seconds: time that `stop` leaves between SIGTERM and SIGKILL.
        """
        self.name = name
        self.output = output
        self._grace_seconds = grace_seconds
        self._is_asked = False
        tethered = [sys.executable, "-I", "-S", tether.__file__, str(os.getpid()), *map(str, command)]
        with output.open("ab") as sink:
            self._output_start = sink.tell()
            started: list[subprocess.Popen[bytes]] = []

            def fork() -> None:
                process = subprocess.Popen(
                    tethered,
                    stdin=subprocess.PIPE,
                    stdout=sink,
                    stderr=subprocess.STDOUT,
                    env={**(os.environ if inherited is None else inherited), **(environment or {})},
                    start_new_session=True,
                )
                started.append(process)

            try:
                _forking_thread.submit(fork).result()
            except KeyboardInterrupt:
                # It came while the program was being started, and nobody will ever hold this object. What the thread
                # has begun is done when it takes something else.
                _forking_thread.submit(int).result()
                for self._process in started:
                    self.kill()
                raise
            [self._process] = started

    @property
    def pid(self) -> int:
        """Process id; also the id of its process group."""
        return self._process.pid

    @property
    def status(self) -> int | None:
        """Exit status, negative for a signal; None while it runs."""
        return self._process.poll()

    def wait(self, timeout_seconds: float | None = None) -> int:
        """Waits for the end.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        status = self._process.wait(timeout_seconds)
        if self._process.stdin:
            self._process.stdin.close()
        return status

    def terminate(self) -> None:
        """Asks it to end, and does not wait. Asks once: a second request would be an order to end at once."""
        if not self._is_asked:
            self._is_asked = True
            self._process.terminate()

    def kill(self) -> None:
        """Ends it and what it started at once, with SIGKILL, and waits until it is gone."""
        if self.status is None:
            os.killpg(self.pid, signal.SIGKILL)
        self.wait()

    def stop(self) -> None:
        """Ends it: SIGTERM, then SIGKILL after the grace. Does nothing if it has ended."""
        self.terminate()
        try:
            self.wait(self._grace_seconds)
        except subprocess.TimeoutExpired:
            pass
        finally:
            self.kill()

    def tail(self, lines: int = 20) -> str:
        """The last lines of its output."""
        with self.output.open("rb") as file:
            file.seek(self._output_start)
            return b"".join(deque(file, maxlen=lines)).decode(errors="replace").rstrip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def stop_all(children: Sequence[ChildProcess]) -> None:
    """Stops several at once: their times to end overlap."""
    for child in children:
        child.terminate()
    for child in children:
        child.stop()


def interrupt_on_termination() -> None:
    """Makes SIGTERM and SIGHUP raise KeyboardInterrupt, so that every way to be asked to end is cleaned up alike.

    SIGINT too: a shell without job control starts background commands with SIGINT ignored, and Python leaves it so.
    """

    def interrupt(_signal: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, interrupt)
