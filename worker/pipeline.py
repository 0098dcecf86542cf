"""poll -> answer -> deliver, one slice at a time. Knows only ports.

Polling, scoring and delivering happen in this order on one thread, and partitions change hands only inside a poll: a
slice that was polled is therefore still ours when its transaction begins, and the broker refuses its offsets if the
group has moved on meanwhile.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from worker.answering import Answer, Timer
from worker.errors import LimelightError
from worker.ports import Record, Source


class Delivery(Protocol):
    """What the pipeline asks of `worker.delivery`."""

    def deliver(self, records: Sequence[Record], answers: Sequence[Answer]) -> None:
        """Commits the answers and the position behind their records together, or raises `DeliveryError`."""
        ...


class Pipeline:
    """Moves slices from the source, through the answers, to the delivery."""

    def __init__(
        self,
        source: Source,
        answer: Callable[[Sequence[Record]], list[Answer]],
        delivery: Delivery,
        *,
        slice_records: int,
        slice_bytes: int,
        timer: Timer,
        aborted: Callable[[LimelightError], None],
    ) -> None:
        """
        Args:
            source: where records come from.
            answer: `Answerer.answer`.
            delivery: commits a slice.
            slice_records: most records in one transaction.
            slice_bytes: a slice is closed when its keys and values pass this size.
            timer: measures the stages.
            aborted: told why a step did not finish, each time that happens.
        """
        self._source = source
        self._answer = answer
        self._delivery = delivery
        self._slice_records = slice_records
        self._slice_bytes = slice_bytes
        self._timer = timer
        self._aborted = aborted
        self.failed_steps = 0
        """Steps that failed since the last one that did not. After a failure the source has to be rewound."""

    def step(self, *, timeout_seconds: float) -> int:
        """Polls once and delivers what came.

        Returns:
            How many records were committed. What was polled and not committed will be polled again.

        Raises:
            LimelightError: no record is to blame, and trying again cannot help.
        """
        committed = 0
        try:
            if self.failed_steps:
                self._source.rewind()
            with self._timer("poll"):
                records = self._source.poll(max_records=self._slice_records, timeout_seconds=timeout_seconds)
            for part in cut(records, max_bytes=self._slice_bytes):
                answers = self._answer(part)
                with self._timer("deliver"):
                    self._delivery.deliver(part, answers)
                committed += len(part)
        except LimelightError as error:
            if not error.retriable:
                raise
            self.failed_steps += 1
            self._aborted(error)
        else:
            self.failed_steps = 0
        return committed


def cut(records: Sequence[Record], *, max_bytes: int) -> Iterator[Sequence[Record]]:
    """Cuts `records` into contiguous slices; a slice ends with the record that reaches `max_bytes`."""
    start, size = 0, 0
    for index, record in enumerate(records):
        size += len(record.value or b"") + len(record.key or b"")
        if size >= max_bytes:
            yield records[start : index + 1]
            start, size = index + 1, 0
    if start < len(records):
        yield records[start:]
