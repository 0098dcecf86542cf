"""Scores suspects one by one in a child process, which may die of them.

::

    worker                         child
    ──────                         ─────
    record ── pipe ──────────────> answers it
           <─────────── pipe ───── answer
           <── end of the pipe ─── died, or was ended after a time limit: once more in a new child, then a dead letter

The child (see `worker.process.child`) loads the model for itself. It is kept for some seconds after the last suspect,
because a worker that died usually left several partitions of them. Where it cannot load the model, nothing is to blame
but the place: no suspect is scored until a child has loaded it, and the circuit breaker waits for that. A new child
also answers its golden records against the clock: on a machine that starves, or with a slow model, a record that takes
long hangs no more than they do.

Suspects are tried one by one to the last, also behind a killer: a second one among them would kill this process.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol, TypeVar

import structlog

from worker.answers.answering import Answer
from worker.errors import LimelightError, ScoringError, UnscorableError
from worker.ports import Record
from worker.process.child import Child, ChildEndedError

Answering = Callable[[Sequence[Record]], list[Answer]]
Plan = TypeVar("Plan")
"""What is answered with, as the child can build it."""

HANG_SECONDS = 5.0
"""A record takes milliseconds."""
GOLDEN_TIMES = 10
"""A record that takes so many times as long as all golden records together hangs. It may be longer than they are."""
LONGEST_SECONDS = 60.0
"""However slow the golden records were: the worker must not seem to be the one that hangs."""
GOLDEN_SECONDS = 30.0
"""Golden records that take longer are not answered: the model or the machine is at fault."""
TRIES = 2
"""The child may have been killed for another reason, such as memory that somebody else took."""

KEEP_SECONDS = 10.0
"""Starting a child costs half a second of both cores."""

log = structlog.get_logger("worker")


class Provable(Protocol):
    """What answers in the child."""

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """Answers every record, or raises `ScoringError`."""
        ...

    def prove(self) -> None:
        """Answers the golden records, or raises `ScoringError` or `BundleError`."""
        ...


class CautiousAnswering(Generic[Plan]):
    """Answers records in this process, and suspects in a child."""

    def __init__(
        self,
        answer: Answering,
        build: Callable[[Plan], Provable],
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
        self._child: Child[Sequence[Record], list[Answer]] | None = None
        self._child_plan: Plan | None = None
        self._limit_seconds = HANG_SECONDS
        self._last_suspect_seconds = 0.0
        self._is_unable = False

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

    def prove(self) -> None:
        """Has a child load the model, if the last one could not. Called on the thread that answers.

        Raises:
            ScoringError: this one cannot either.
        """
        if self._is_unable:
            self._find_child()

    def close(self) -> None:
        """Ends the child, if there is one."""
        if self._child is not None:
            self._child.close()
            self._child = None

    def _answer_alone(self, record: Record) -> Answer:
        reason = ""
        for _ in range(TRIES):
            child = self._find_child()
            self._progressed()
            try:
                [answer] = child.ask([record], timeout_seconds=self._limit_seconds)
                return answer
            except ChildEndedError as error:
                reason = str(error)
                self.close()
                self._progressed()  # another child may take long to start, after one that hung for long
        self._found()
        log.error("a record kills the process that scores it", position=str(record.position), reason=reason)
        return UnscorableError(f"the record kills the process that scores it: {reason}.")

    def _find_child(self) -> Child[Sequence[Record], list[Answer]]:
        """The child of the current plan, started and timed if there is none."""
        plan = self._plan()
        if self._child is not None and self._child_plan != plan:
            self.close()
        if self._child is None:
            self._child = Child(partial(_serve_alone, self._build, plan))
            try:
                self._child.await_ready()
                self._progressed()
                self._limit_seconds = _find_limit(self._child)
            except (ChildEndedError, LimelightError) as error:
                self.close()
                self._is_unable = True
                raise ScoringError(
                    f"the child process for suspects did not load the model and answer its golden records: {error}."
                ) from None
            self._child_plan = plan
            self._is_unable = False
        return self._child


def _find_limit(child: Child[Sequence[Record], list[Answer]]) -> float:
    """Seconds after which a record hangs, by how long the golden records take in `child` now.

    Raises:
        ChildEndedError: it does not answer them.
        LimelightError: it answers them otherwise.
    """
    begin_seconds = time.monotonic()
    child.ask(_GOLDEN_RECORDS, timeout_seconds=GOLDEN_SECONDS)
    golden_seconds = time.monotonic() - begin_seconds
    return min(max(HANG_SECONDS, GOLDEN_TIMES * golden_seconds), LONGEST_SECONDS)


_GOLDEN_RECORDS: Sequence[Record] = ()
"""Asks the child for them in place of records: it has its own."""


def _serve_alone(build: Callable[[Plan], Provable], plan: Plan) -> Callable[[Sequence[Record]], list[Answer]]:
    model = build(plan)

    def answer_or_prove(records: Sequence[Record]) -> list[Answer]:
        if records:
            return model.answer(records)
        model.prove()
        return []

    return answer_or_prove
