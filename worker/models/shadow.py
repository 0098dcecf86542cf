"""A version that answers on the side: how often would it have said something else?

::

    scoring thread         shadow thread             child process, at the lowest priority
    ──────────────         ─────────────             ─────────────────────────────────────
    offer ── queue, full: dropped, counted ──> ask ── pipe ──> its own model, its own producer ──> shadow topic
                                            metrics <── pipe ── how the two answers differ

All of it is best effort, and nothing of it can slow or stop the main route: no lock, no interpreter and no library is
shared with it, and a shadow that dies, hangs or cannot start costs one line in the log and a new try later.
"""

import os
import queue
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import msgspec
import structlog

from worker.answers.answering import Answer
from worker.errors import LimelightError
from worker.messages import Classification
from worker.metrics import ShadowMetrics
from worker.models.serving import Plan
from worker.ports import Clock, Record
from worker.process.child import Child, ChildEndedError

WAITING_SLICES = 4
"""Between scoring and shadow; what comes while they wait is dropped."""
HANG_SECONDS = 60.0
"""For one slice, at the lowest priority."""
RETRY_SECONDS = 10.0
LOWEST_PRIORITY = 19
"""See nice(2)."""
IDLE_SECONDS = 0.2
"""How long the thread sleeps before it looks whether it should end."""

log = structlog.get_logger("worker")


class Slice(NamedTuple):
    """Records, and what they were answered."""

    records: Sequence[Record]
    answers: Sequence[Answer]


class Comparison(NamedTuple):
    """The shadow's answers to a slice against those that were given."""

    scored: int
    """Records with a prediction of both."""
    disagreed: int
    """Of these, how many with another label."""
    distances: list[float]
    """Of these, how far the probabilities are apart: the total variation distance, 0 to 1."""
    unconfirmed: int = 0
    """Predictions of the shadow that are not known to have arrived on their topic."""


Handler = Callable[[Slice], Comparison]


class Shadow:
    """Compares what it is offered, on a thread and in a child of its own."""

    def __init__(self, build: Callable[[Plan], Handler], *, clock: Clock, metrics: ShadowMetrics) -> None:
        """
        Args:
            build: builds from a plan what answers and compares in the child; it is pickled.
            clock: its monotonic side decides when a shadow that failed is tried again.
            metrics: takes the counts.
        """
        self._build = build
        self._clock = clock
        self._metrics = metrics
        self._plan: Plan | None = None
        self._queue: queue.Queue[Slice] = queue.Queue(WAITING_SLICES)
        self._child: Child[Slice, Comparison] | None = None
        self._child_plan: Plan | None = None
        self._due_seconds = 0.0
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None
        self.problem = ""
        """Why nothing is compared; empty if it is."""

    def follow(self, plan: Plan | None) -> None:
        """From now on compares with the current version of `plan`; None compares nothing."""
        self._plan = plan

    def beside(self, answer: Callable[[Sequence[Record]], list[Answer]]) -> Callable[[Sequence[Record]], list[Answer]]:
        """The same `answer`, of which the shadow is offered everything."""

        def both(records: Sequence[Record]) -> list[Answer]:
            answers = answer(records)
            self.offer(records, answers)
            return answers

        return both

    def offer(self, records: Sequence[Record], answers: Sequence[Answer]) -> None:
        """Never waits."""
        if self._plan is None:
            return
        try:
            self._queue.put_nowait(Slice(records, answers))
        except queue.Full:
            self._metrics.dropped.inc(len(records))

    def start(self) -> None:
        """Starts the thread."""
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the thread and the child, at once."""
        self._ended.set()
        if (child := self._child) is not None:
            child.kill()
        if self._thread is not None:
            self._thread.join()
        self._let_go()

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                taken = self._queue.get(timeout=IDLE_SECONDS)
            except queue.Empty:
                if self._plan is None:
                    self._let_go()
                continue
            self.compare(taken)

    def compare(self, taken: Slice) -> None:
        """Has the child compare one slice; drops it if that cannot be done."""
        try:
            child = self._find_child()
            if child is None:
                self._metrics.dropped.inc(len(taken.records))
                return
            found = child.ask(taken, timeout_seconds=HANG_SECONDS)
        except (ChildEndedError, LimelightError) as error:
            self._metrics.dropped.inc(len(taken.records))
            self._fail(error)
            return
        self.problem = ""
        self._metrics.compared(scored=found.scored, disagreed=found.disagreed, distances=found.distances)
        self._metrics.unconfirmed.inc(found.unconfirmed)

    def _find_child(self) -> Child[Slice, Comparison] | None:
        plan = self._plan
        if plan != self._child_plan:
            self._let_go()
            self._due_seconds, self.problem = 0.0, ""
        if plan is None or (self._child is None and self._clock.monotonic_seconds() < self._due_seconds):
            return None
        self._child_plan = plan
        if self._child is None:
            self._child = Child(partial(self._build, plan))
            if self._ended.is_set():
                self._child.kill()
            self._child.await_ready()
        return self._child

    def _fail(self, error: Exception) -> None:
        if self._child is not None:
            self._child.close()
            self._child = None
        self._due_seconds = self._clock.monotonic_seconds() + RETRY_SECONDS
        if self._ended.is_set():
            return
        if not self.problem:
            log.error("no shadow: the stream goes on without", reason=str(error))
        self.problem = f"no shadow: {error}"

    def _let_go(self) -> None:
        if self._child is not None:
            self._child.close()
        self._child = self._child_plan = None


def run_when_idle() -> None:
    """Leaves the processors to everybody else: this thread, and those that it starts, run when nobody wants to.

    The lowest nice value is not enough: a thread that wakes up still waits for the slice of one that runs, and the
    latency of the stream was up to four times as long.
    """
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except PermissionError:
        # A sandbox that forbids it.
        os.nice(LOWEST_PRIORITY)


class _Judged(msgspec.Struct):
    """What is compared of a Prediction."""

    output: Classification


_decode = msgspec.json.Decoder(_Judged).decode


def compare_answers(given: Sequence[Answer], shadowed: Sequence[Answer]) -> Comparison:
    """Compares the predictions that both gave to the same record."""
    pairs = [
        (_decode(ours).output, _decode(theirs).output)
        for ours, theirs in zip(given, shadowed, strict=True)
        if isinstance(ours, bytes) and isinstance(theirs, bytes)
    ]
    return Comparison(
        len(pairs),
        sum(ours.label != theirs.label for ours, theirs in pairs),
        [total_variation(ours.probabilities, theirs.probabilities) for ours, theirs in pairs],
    )


def total_variation(p: dict[str, float], q: dict[str, float]) -> float:
    """Half the sum of |p - q| over all labels: the largest difference that any set of labels can make."""
    return sum(abs(p.get(label, 0.0) - q.get(label, 0.0)) for label in p.keys() | q.keys()) / 2
