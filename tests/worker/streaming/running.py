"""A worker on such a stream, stage by stage, and what it has answered."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import msgspec
from assembled import build_answerer
from streaming.streams import DEAD_LETTERS, PREDICTIONS

from worker.answers.answering import Answer
from worker.bundle import Bundle
from worker.clock import SystemClock
from worker.errors import LimelightError
from worker.messages import DeadLetter, Position, Prediction
from worker.ports import Partition, Record
from worker.stream.attempts import Attempts
from worker.stream.breaker import CircuitBreaker
from worker.stream.delivery import SliceDelivery, next_offsets
from worker.stream.ownership import Ownership
from worker.stream.pipeline import Pipeline
from worker.transport.deadline import Deadline


class Run:
    """A worker on a stream, in this process."""

    def __init__(
        self,
        stream: Any,
        bundle: Bundle,
        *,
        slice_records: int = 500,
        slice_bytes: int = 1 << 20,
        skip_tombstones: bool = False,
    ) -> None:
        self._stream = stream
        name = getattr(stream, "name", str)
        self._ownership = Ownership()
        source, sink = stream.open(self._ownership)
        answerer = build_answerer(bundle, skip_tombstones=skip_tombstones)
        self.slices: list[int] = []
        self.offsets: dict[Partition, int] = {}
        self.failures: list[LimelightError] = []
        delivery = SliceDelivery(
            sink,
            self._ownership,
            output_topic=name(PREDICTIONS),
            dead_letter_topic=name(DEAD_LETTERS),
            group_id="test-group",
            clock=SystemClock(),
            committed=self._note,
        )
        self._pipeline = Pipeline(
            source,
            lambda records, *, suspect: answerer.answer(records),  # noqa: PLW0108 - nobody dies here
            delivery,
            self._ownership,
            attempts=Attempts(source, reach_records=slice_records),
            breaker=CircuitBreaker(lambda: None, changed=lambda _: None),
            slice_records=slice_records,
            slice_bytes=slice_bytes,
            timer=lambda _: nullcontext(),
            aborted=self._note_failure,
        )
        self._source = source

    def _note(self, records: Sequence[Record], answers: Sequence[Answer]) -> None:
        self.slices.append(len(records))
        self.offsets |= next_offsets(records)

    def _note_failure(self, error: LimelightError) -> None:
        self.failures.append(error)
        self.offsets.clear()

    def until_committed(self, records: int) -> None:
        deadline = Deadline(60)
        while sum(self.slices) < records:
            assert deadline.remaining_seconds() > 0, f"{sum(self.slices)} of {records} committed; {self.failures}"
            self.turn()

    def turn(self) -> bool:
        """One turn of every stage, on this thread. Returns whether anything moved."""
        moved = self._pipeline.read(timeout_seconds=0.1) > 0
        while self._pipeline.score(timeout_seconds=0) | self._pipeline.deliver(timeout_seconds=0):
            moved = True
        return moved

    def until_idle(self, *, expect_records: bool = True) -> None:
        """Steps until nothing is left to read, whoever counted it."""
        deadline = Deadline(60)
        # Before the first record the lag may be unknown, which counts as none.
        while (
            self.turn()
            or (expect_records and not self.slices and not self.failures)
            or self._ownership.suspended
            or self._source.lag(self.offsets)
        ):
            assert deadline.remaining_seconds() > 0, f"not idle; {self.failures}"


def event(text: str) -> bytes:
    return msgspec.json.encode({"text": text})


def sources(stream: Any) -> list[Position]:
    """Positions that were answered, in output order."""
    answered = [msgspec.json.decode(r.value, type=Prediction).source for r in stream.read(PREDICTIONS)]
    return answered + [DeadLetter.from_headers(r.headers).source for r in stream.read(DEAD_LETTERS)]
