"""read -> score -> deliver: three stages, each on a thread of its own, that hand slices to one another.

::

    main thread          score thread            deliver thread
    ───────────          ────────────            ──────────────
    poll ─> stamp, cut ─> answers ─────────────> still ours? ─> transaction ─> committed
      ^                                              │ no             │ aborted
      │                                              v                v
      │                                           dropped       ownership.suspend
      └── rewind, ownership.resume <──────────────────────────────────┘

Reading never waits for scoring, so a slow model cannot cost the membership of the group; it only stops fetching while
`SLICES_AHEAD` slices are under way, which bounds the memory. Records are delivered in the order in which they were
read, and every slice that is ready when a transaction begins is committed with it: what a transaction costs, whatever
its size, is shared by more records where more are waiting. After an abort everything behind the aborted slice is stale
(see `worker.stream.ownership`): it is dropped wherever it is, and read again from the committed offsets. A model that
fails is no abort of one slice: the circuit breaker keeps everything waiting until it answers again. Knows only ports.
"""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import structlog

from worker.answers.answering import Answer, Timer
from worker.errors import LimelightError, RecordError, ScoringError
from worker.ports import Offsets, Record, Source
from worker.stream.attempts import Attempts
from worker.stream.breaker import CircuitBreaker
from worker.stream.intake import Intake
from worker.stream.ownership import Epochs, Ownership
from worker.stream.pace import Pace
from worker.stream.recovery import Recovery
from worker.stream.slices import Slice, SliceQueue, join
from worker.stream.stage_threads import StageThreads
from worker.stream.under_way import UnderWay

log = structlog.get_logger("worker")

SLICES_AHEAD = 12
"""Full slices between poll and commit. Two keep scoring and delivering busy; those that pile up during a transaction
are committed by the next one. With fewer, a busy worker waits for more transactions than it has to."""
IDLE_SECONDS = 0.2
"""How long a thread sleeps before it looks whether it should end."""


class Answering(Protocol):
    """What the pipeline asks of `worker.stream.caution`."""

    def __call__(self, records: Sequence[Record], *, suspect: bool) -> list[Answer]:
        """Answers every record, or raises `ScoringError`."""
        ...


class Delivery(Protocol):
    """What the pipeline asks of `worker.stream.delivery`."""

    def deliver(
        self,
        records: Sequence[Record],
        answers: Sequence[Answer],
        epochs: Epochs,
        *,
        is_ending: Callable[[], bool],
    ) -> None:
        """Commits the answers and the offsets behind their records together, or raises `DeliveryError`."""
        ...

    def settle(self) -> None:
        """Ends what a delivery left open, or raises `BrokerUnreachableError`."""
        ...


class Pipeline:
    """Moves slices from the source, through the answers, to the delivery.

    `read`, `score` and `deliver` each do one turn of their stage. `start` gives the last two a thread of their own;
    a test can call them in any order instead.
    """

    def __init__(
        self,
        source: Source,
        answer: Answering,
        delivery: Delivery,
        ownership: Ownership,
        *,
        attempts: Attempts,
        breaker: CircuitBreaker,
        slice_records: int,
        slice_bytes: int,
        slice_seconds: float = 0,
        until: Offsets | None = None,
        timer: Timer,
        aborted: Callable[[LimelightError], None],
    ) -> None:
        """
        Args:
            source: where records come from.
            answer: `CautiousAnswering.answer`.
            delivery: commits a slice.
            ownership: of the source's partitions.
            attempts: says which records are suspects.
            breaker: opened when the model fails.
            slice_records: most records in one slice.
            slice_bytes: a slice is closed when its keys and values reach this size.
            slice_seconds: a slice is closed so long after its oldest record was polled, if scoring is not busy anyway.
            until: offset of each partition behind the last record to answer; what follows is passed over.
            timer: measures the stages.
            aborted: told why a turn failed that will be made again.
        """
        self._answer = answer
        self._delivery = delivery
        self._ownership = ownership
        self._attempts = attempts
        self._breaker = breaker
        self._slice_records = slice_records
        self._slice_bytes = slice_bytes
        self._slice_seconds = slice_seconds
        self._timer = timer
        self._recovery = Recovery(ownership, aborted=aborted)
        self._intake = Intake(
            source,
            ownership,
            self._recovery,
            attempts=attempts,
            slice_records=slice_records,
            slice_bytes=slice_bytes,
            until=until,
            timer=timer,
        )
        self._to_score, self._to_deliver = SliceQueue(), SliceQueue()
        self._pace = Pace(slice_records=slice_records)
        self._under_way = UnderWay(most_records=SLICES_AHEAD * slice_records, most_bytes=SLICES_AHEAD * slice_bytes)
        self._threads = StageThreads(failed=self._under_way.wake)
        self.is_paused = False
        """True while an administrator wants nothing to be read. What was read goes on."""

    def start(self) -> None:
        """Starts the threads of scoring and delivering."""
        self._threads.start(self.score, self.deliver)

    def read(self, *, timeout_seconds: float) -> int:
        """Polls once, when there is room, and queues what came. Called on the main thread, again and again.

        Returns:
            How many records were queued.

        Raises:
            LimelightError: a stage failed, no record is to blame, and trying again cannot help.
        """
        self._threads.check()
        if not (self._breaker.is_open or self._intake.is_rewound()):
            return 0
        has_room = self._has_room(timeout_seconds)
        # Without room, polling goes on for the sake of the group.
        parts = self._intake.read(timeout_seconds=timeout_seconds, fetches=has_room)
        for part in parts:
            self._under_way.add(part)
            self._to_score.put(part)
        return sum(len(part.records) for part in parts)

    def score(self, *, timeout_seconds: float = IDLE_SECONDS) -> bool:
        """Answers the oldest records that wait. Returns whether there were any.

        A model that fails opens the breaker; from then on a turn has it prove itself.
        """
        is_open = self._breaker.is_open
        # After a failure one by one: brokers that are slow may not take so much before the deadline.
        together = 1 if self._recovery.failures else self._pace.together
        parts = self._to_score.take(
            timeout_seconds=0.001 if is_open else timeout_seconds,
            max_records=together * self._slice_records,
            max_bytes=together * self._slice_bytes,
            linger_seconds=self._slice_seconds,
        )
        if not parts:
            if is_open:
                self._breaker.probe(self._threads.ended)
            return False
        taken = join(parts, self._ownership.epochs)
        scored: list[Slice] = []
        try:
            if taken.records:
                begin_seconds = time.monotonic()
                scored.append(taken.with_answers(self._answers(taken)))
                self._pace.learn(len(taken.records), time.monotonic() - begin_seconds)
        except ScoringError as error:
            self._breaker.trip(error)
            self._recovery.retry_or_raise(error)
        self._under_way.finish(parts, but=scored)
        for part in scored:
            self._to_deliver.put(part)
        return True

    def _answers(self, taken: Slice) -> list[Answer]:
        # Asked before: who finds the killer acquits the others.
        attempts = [self._attempts.count(record) for record in taken.records] if taken.suspect else []
        answers = self._answer(taken.records, suspect=taken.suspect)
        for answer, count in zip(answers, attempts, strict=False):
            if isinstance(answer, RecordError):
                answer.attempts = count
        return answers

    def deliver(self, *, timeout_seconds: float = IDLE_SECONDS) -> bool:
        """Commits what is scored, but for what is no longer ours. Returns whether there was anything.

        Raises:
            LimelightError: trying again cannot help.
        """
        if self._recovery.is_unsettled:
            self._settle()
            return True
        slices = 1 if self._recovery.failures else SLICES_AHEAD
        parts = self._to_deliver.take(
            timeout_seconds=timeout_seconds,
            max_records=slices * self._slice_records,
            max_bytes=slices * self._slice_bytes,
        )
        if not parts:
            return False
        try:
            taken = join(parts, self._ownership.epochs)
            if taken.records:
                self._attempts.sending(taken.epochs)
                with self._timer("deliver"):
                    self._delivery.deliver(
                        taken.records, taken.answers, taken.epochs, is_ending=self._threads.ended.is_set
                    )
                self._recovery.failures = 0
        except LimelightError as error:
            self._recovery.unsettle()
            self._recovery.retry_or_raise(error)
        finally:
            self._under_way.finish(parts)
        return True

    def _settle(self) -> None:
        """Ends what a failed delivery left open: until then nobody can read on, here or behind the outputs."""
        try:
            self._delivery.settle()
        except LimelightError as error:
            self._recovery.retry_or_raise(error)
            self._threads.ended.wait(IDLE_SECONDS)
        else:
            self._recovery.settle()
        # A turn, whatever came of it: an outage of the brokers is no reason to restart every worker.
        self._under_way.finish(())

    def drain(self, *, timeout_seconds: float) -> bool:
        """Waits until every record that was read is committed or dropped, and no transaction is open.

        Stays a member of the group meanwhile.

        Returns:
            False if time ran out.

        Raises:
            LimelightError: a stage failed.
        """
        end_seconds = time.monotonic() + timeout_seconds

        def is_drained() -> bool:
            return self.is_idle and not self._recovery.is_unsettled

        while not is_drained() and (left_seconds := end_seconds - time.monotonic()) > 0:
            self._threads.check()
            self._intake.stay_a_member()
            self._under_way.wait_until(
                lambda: is_drained() or self._threads.has_failed, min(left_seconds, IDLE_SECONDS)
            )
        self._threads.check()
        return is_drained()

    def close(self) -> None:
        """Ends the threads after the turn that they are in."""
        self._threads.end()

    @property
    def is_idle(self) -> bool:
        """True if no record is under way."""
        return self._under_way.is_empty

    @property
    def finished(self) -> int:
        """Turns of scoring and delivering that came to an end."""
        return self._under_way.finished

    @property
    def unsettled_seconds(self) -> float:
        """How long what a failed delivery left open could not be ended; 0 if there is nothing."""
        return self._recovery.unsettled_seconds

    @property
    def failures(self) -> int:
        """Turns that failed since the last commit."""
        return self._recovery.failures

    @property
    def is_finished(self) -> bool:
        """True if everything `until` was read from our partitions, and is committed or dropped."""
        return self.is_idle and self._intake.is_complete()

    def _has_room(self, timeout_seconds: float) -> bool:
        def has_room() -> bool:
            is_held_up = self._under_way.is_full or self.is_paused or self._breaker.is_open
            return not is_held_up or self._threads.has_failed

        return self._under_way.wait_until(has_room, timeout_seconds)
