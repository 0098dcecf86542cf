"""Scores suspects one by one in a child process, which may die of them.

::

    worker                         child
    ──────                         ─────
    record ── pipe ──────────────> answers it
           <─────────── pipe ───── answer
           <── end of the pipe ─── died, or was ended after HANG_SECONDS: once more in a new child, then a dead letter

The child loads the model for itself, ignores the terminal's signals and dies with us, also while it hangs. It is kept
for some seconds after the last suspect, because a worker that died usually left several partitions of them.
"""

import ctypes
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from typing import Generic, TypeVar

import structlog

from worker.answering import Answer
from worker.errors import LimelightError, ScoringError, UnscorableError
from worker.ports import Record

Answering = Callable[[Sequence[Record]], list[Answer]]
Plan = TypeVar("Plan")
"""What is answered with, as the child can build it."""

START_SECONDS = 30.0
"""Loading the model takes half a second; a busy machine may need longer."""
HANG_SECONDS = 5.0
"""A record takes milliseconds."""
TRIES = 2
"""The child may have been killed for another reason, such as memory that somebody else took."""

KEEP_SECONDS = 10.0
"""Starting a child costs half a second of both cores."""
PR_SET_PDEATHSIG = 1
"""See prctl(2)."""

log = structlog.get_logger("worker")


class CautiousAnswering(Generic[Plan]):
    """Answers records in this process, and suspects in a child."""

    def __init__(
        self,
        answer: Answering,
        build: Callable[[Plan], Answering],
        *,
        plan: Callable[[], Plan],
        progressed: Callable[[], None],
        found: Callable[[], None],
    ) -> None:
        """
        Args:
            answer: answers in this process.
            build: builds from a plan what answers in the child; it is pickled, and so is the plan.
            plan: tells what answers in this process now. A child with another plan is ended.
            progressed: called for every suspect: a slice of them takes long, but does not hang.
            found: called when a record was found to kill.
        """
        self._answer = answer
        self._build = build
        self._plan = plan
        self._progressed = progressed
        self._found = found
        self._child: _Child[Plan] | None = None
        self._last_suspect_seconds = 0.0

    def answer(self, records: Sequence[Record], *, suspect: bool) -> list[Answer]:
        """Answers every record, alone in the child if it is `suspect`.

        Raises:
            ScoringError: the model failed; no record is to blame.
        """
        if suspect:
            answers = [self._answer_alone(record) for record in records]
            self._last_suspect_seconds = time.monotonic()
            return answers
        if self._child is not None and time.monotonic() - self._last_suspect_seconds > KEEP_SECONDS:
            self.close()
        return self._answer(records)

    def close(self) -> None:
        """Ends the child, if there is one."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _answer_alone(self, record: Record) -> Answer:
        reason = ""
        self._progressed()
        for _ in range(TRIES):
            plan = self._plan()
            if self._child is not None and self._child.plan != plan:
                self.close()
            if self._child is None:
                self._child = _Child(self._build, plan)
            try:
                return self._child.answer(record)
            except _ChildEndedError as error:
                reason = str(error)
                self.close()
        self._found()
        log.error("a record kills the process that scores it", position=str(record.position), reason=reason)
        return UnscorableError(f"the record kills the process that scores it: {reason}.")


class _ChildEndedError(Exception):
    """The child did not answer; the message says why."""


class _Child(Generic[Plan]):
    def __init__(self, build: Callable[[Plan], Answering], plan: Plan) -> None:
        self.plan = plan
        context = multiprocessing.get_context("spawn")  # a fork would inherit ONNX Runtime's threads half-way
        self._pipe, theirs = context.Pipe()
        self._process: SpawnProcess = context.Process(target=_serve, args=(partial(build, plan), theirs), daemon=True)
        self._process.start()
        theirs.close()
        try:
            self._receive(START_SECONDS)
        except _ChildEndedError as error:
            self.close()
            raise ScoringError(f"the child process for suspects did not load the model: {error}.") from None
        except ScoringError:
            self.close()
            raise

    def answer(self, record: Record) -> Answer:
        """
        Raises:
            _ChildEndedError: it died, or hung and was ended.
            ScoringError: the model failed; the record is not to blame.
        """
        try:
            self._pipe.send(record)
        except OSError:
            self._process.join()
            raise _ChildEndedError(_describe_exit(self._process.exitcode)) from None
        answer: Answer = self._receive(HANG_SECONDS)
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.join()
        self._process.close()
        self._pipe.close()

    def _receive(self, timeout_seconds: float) -> Answer:
        try:
            if not self._pipe.poll(timeout_seconds):
                raise _ChildEndedError(f"no answer within {timeout_seconds:g} s")
            received = self._pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            raise _ChildEndedError(_describe_exit(self._process.exitcode)) from None
        if isinstance(received, ScoringError):
            raise received
        return received  # type: ignore[no-any-return]


def _serve(build: Callable[[], Answering], pipe: Connection) -> None:
    """The child: answers records until the pipe ends."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    if sys.platform == "linux":
        # While a record hangs, nobody notices the end of the pipe.
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        answer = build()
        pipe.send(b"")
        while True:
            pipe.send(_answer_one(answer, pipe.recv()))
    except (EOFError, BrokenPipeError):
        return
    except LimelightError as error:
        pipe.send(ScoringError(str(error)))


def _answer_one(answer: Answering, record: Record) -> Answer | ScoringError:
    try:
        [answered] = answer([record])
    except ScoringError as error:
        return error
    return answered


def _describe_exit(code: int | None) -> str:
    if code is not None and code < 0:
        return f"it died of {signal.Signals(-code).name}"
    return f"it ended with status {code}"
