"""Slices, from the poll to the commit, and the queues between the stages that cut and join them.

A poll brings what has arrived, be it one record; the stages work on more at once, where more is waiting. So what was
polled is joined on the way: to score, up to a slice (cut by records, bytes or time); to deliver, everything that has
been scored meanwhile. A stage that is idle gets little and soon, a stage that is busy gets much: the costs per slice
and per transaction shrink as the load grows.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import NamedTuple, Self

from worker.answers.answering import Answer
from worker.ports import Partition, Record
from worker.stream.ownership import Epochs


class Slice(NamedTuple):
    """Records that take one way together, in input order."""

    records: Sequence[Record]
    epochs: Epochs
    """Of the records' partitions, when they were polled."""
    size_bytes: int
    """Keys and values, and the answers once there are some."""
    since_seconds: float
    """When the oldest of the records was polled, on the monotonic clock."""
    suspect: bool = False
    """True if workers died where these records may have been under way."""
    answers: Sequence[Answer] = ()
    """One for each record, once it is scored."""

    def with_answers(self, answers: Sequence[Answer]) -> Self:
        """The same, scored: an answer is often larger than its record, and waits beside it."""
        answered_bytes = sum(len(answer) for answer in answers if isinstance(answer, bytes))
        return self._replace(answers=answers, size_bytes=self.size_bytes + answered_bytes)


class SliceQueue:
    """Slices that wait for a stage, which takes one or several at a time. One thread puts, one takes."""

    def __init__(self) -> None:
        self._waiting: deque[Slice] = deque()
        self._changed = threading.Condition()

    def put(self, part: Slice) -> None:
        """Appends `part`."""
        with self._changed:
            self._waiting.append(part)
            self._changed.notify()

    def take(
        self, *, timeout_seconds: float, max_records: int, max_bytes: int, linger_seconds: float = 0
    ) -> list[Slice]:
        """Takes the oldest slice and those behind it that go along: with as much suspicion, and within the limits.

        Args:
            timeout_seconds: for the first to come.
            max_records: most records, unless the first has more.
            max_bytes: nothing is added to what has reached this size.
            linger_seconds: how long after the poll of the oldest record others are waited for.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._waiting, timeout_seconds):
                return []
            end_seconds = self._waiting[0].since_seconds + linger_seconds
            while True:
                count, is_full = self._fitting(max_records, max_bytes)
                left_seconds = end_seconds - time.monotonic()
                if is_full or left_seconds <= 0 or not self._changed.wait(left_seconds):
                    return [self._waiting.popleft() for _ in range(count)]

    def _fitting(self, max_records: int, max_bytes: int) -> tuple[int, bool]:
        """How many of the waiting slices go together, and whether whatever comes next could not join them."""
        first, records, size_bytes = self._waiting[0], 0, 0
        for count, part in enumerate(self._waiting):
            fits = records + len(part.records) <= max_records and size_bytes < max_bytes
            if count and (not fits or part.suspect != first.suspect):
                return count, True
            records += len(part.records)
            size_bytes += part.size_bytes
        return len(self._waiting), records >= max_records or size_bytes >= max_bytes


def join(parts: Sequence[Slice], current: Callable[[Iterable[Partition]], Epochs]) -> Slice:
    """Makes one slice of several, without the records whose epoch is over.

    Args:
        parts: at least one, in order.
        current: `Ownership.epochs`. Asked once: two answers could differ, and one epoch would stand for another.
    """
    epochs = current({home for part in parts for home in part.epochs})
    kept = [
        part if part.epochs == {home: epochs.get(home) for home in part.epochs} else _keep(part, epochs)
        for part in parts
    ]
    return Slice(
        [record for part in kept for record in part.records],
        {home: epoch for part in kept for home, epoch in part.epochs.items()},
        sum(part.size_bytes for part in kept),
        parts[0].since_seconds,
        parts[0].suspect,
        [answer for part in kept for answer in part.answers],
    )


def _keep(part: Slice, epochs: Epochs) -> Slice:
    lasting = {home: epoch for home, epoch in part.epochs.items() if epochs.get(home) == epoch}
    kept = [record.home in lasting for record in part.records]
    records, answers = list(compress(part.records, kept)), list(compress(part.answers, kept))
    return part._replace(records=records, epochs=lasting, answers=answers, size_bytes=size_of(records))


def size_of(records: Iterable[Record]) -> int:
    """Bytes of the keys and values."""
    return sum([len(record.value or b"") + len(record.key or b"") for record in records])


def cut(records: Sequence[Record], *, max_bytes: int) -> Iterator[Sequence[Record]]:
    """Cuts `records` into contiguous parts; a part ends with the record that reaches `max_bytes`."""
    if size_of(records) < max_bytes:
        # As nearly every poll does: found out without a step for each record.
        yield from [records] if records else []
        return
    start, size = 0, 0
    for index, record in enumerate(records):
        size += size_of([record])
        if size >= max_bytes:
            yield records[start : index + 1]
            start, size = index + 1, 0
    if start < len(records):
        yield records[start:]
