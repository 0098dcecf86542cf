"""A child process that answers one request after the other, and may die of any of them.

::

    we                             child
    ──                             ─────
    request ── pipe ─────────────> handles it
            <────────── pipe ───── reply
            <── end of the pipe ── died, or was ended after a time limit

The child builds its handler for itself, ignores the terminal's signals and dies with us, also while it hangs.
"""

import multiprocessing
import signal
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Generic, TypeVar

from worker.errors import LimelightError
from worker.process.parentage import die_with_parent

START_SECONDS = 30.0
"""Loading the model takes half a second; a busy machine may need longer."""

Request = TypeVar("Request")
Reply = TypeVar("Reply")


class ChildEndedError(Exception):
    """The child did not answer; the message says why."""


class Child(Generic[Request, Reply]):
    """A running child. Used on one thread."""

    def __init__(self, build: Callable[[], Callable[[Request], Reply]]) -> None:
        """Starts it; see `await_ready`.

        Args:
            build: builds the handler in the child; it is pickled.
        """
        context = multiprocessing.get_context("spawn")  # a fork would inherit ONNX Runtime's threads half-way
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(build, theirs), daemon=True)
        self._process.start()
        theirs.close()

    def await_ready(self) -> None:
        """Waits until the handler is built.

        Raises:
            ChildEndedError: it died of that, or took too long.
            LimelightError: `build` raised it.
        """
        self._receive(START_SECONDS)

    def ask(self, request: Request, *, timeout_seconds: float) -> Reply:
        """
        Raises:
            ChildEndedError: it died, or hangs.
            LimelightError: its handler raised it.
        """
        try:
            self._pipe.send(request)
        except OSError:
            self._process.join()
            raise ChildEndedError(_describe_exit(self._process.exitcode)) from None
        return self._receive(timeout_seconds)

    def kill(self) -> None:
        """Ends it, from any thread: whoever waits for it gets a `ChildEndedError`."""
        self._process.kill()

    def close(self) -> None:
        """Ends it at once."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()

    def _receive(self, timeout_seconds: float) -> Reply:
        try:
            if not self._pipe.poll(timeout_seconds):
                raise ChildEndedError(f"no answer within {timeout_seconds:g} s")
            raised, received = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise ChildEndedError(_describe_exit(self._process.exitcode)) from None
        if raised:
            raise received
        return received  # type: ignore[no-any-return]


def _serve(build: Callable[[], Callable[[Request], Reply]], pipe: Connection) -> None:
    """The child: answers requests until the pipe ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    die_with_parent()  # while a request hangs, nobody notices the end of the pipe
    try:
        handle = build()
        pipe.send((False, None))
        while True:
            pipe.send(_handle_one(handle, pipe.recv()))
    except (EOFError, BrokenPipeError):
        return
    except LimelightError as error:
        pipe.send((True, error))


def _handle_one(handle: Callable[[Request], Reply], request: Request) -> tuple[bool, Reply | LimelightError]:
    """Whether the handler raised, and what."""
    try:
        return False, handle(request)
    except LimelightError as error:
        return True, error


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"it died of {signal.Signals(-code).name}"
    return f"it ended with status {code}"
