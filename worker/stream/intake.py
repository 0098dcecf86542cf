"""The reading stage: polls, goes back after a failure, and cuts what came into slices that bear its epochs."""

import time
from collections.abc import Iterator, Sequence
from itertools import groupby

import structlog

from worker.answers.answering import Timer
from worker.errors import LimelightError
from worker.ports import Offsets, Record, Source
from worker.stream.attempts import Attempts
from worker.stream.ownership import Ownership
from worker.stream.recovery import Recovery
from worker.stream.slices import Slice, cut, size_of

log = structlog.get_logger("worker")


class Intake:
    """Takes records from the source. All of it is for the thread that polls."""

    def __init__(
        self,
        source: Source,
        ownership: Ownership,
        recovery: Recovery,
        *,
        attempts: Attempts,
        slice_records: int,
        slice_bytes: int,
        until: Offsets | None,
        timer: Timer,
    ) -> None:
        """
        Args:
            source: where records come from.
            ownership: of the source's partitions.
            recovery: of the pipeline.
            attempts: says which records are suspects.
            slice_records: most records of one poll.
            slice_bytes: a slice is closed when its keys and values reach this size.
            until: offset of each partition behind the last record to take; what follows is passed over.
            timer: measures the polls.
        """
        self._source = source
        self._ownership = ownership
        self._recovery = recovery
        self._attempts = attempts
        self._slice_records = slice_records
        self._slice_bytes = slice_bytes
        self._until = until
        self._timer = timer

    def read(self, *, timeout_seconds: float, fetches: bool) -> list[Slice]:
        """Polls once.

        Args:
            timeout_seconds: for the first record.
            fetches: otherwise the poll is short, and for the sake of the group.

        Raises:
            LimelightError: trying again cannot help.
        """
        try:
            if fetches:
                self._source.resume()
            else:
                self._source.pause()
                timeout_seconds = 0
            with self._timer("poll"):
                records = self._source.poll(max_records=self._slice_records, timeout_seconds=timeout_seconds)
            if self._ownership.suspended:
                # They are read again, behind others that went before them: a note here would leave those out.
                return []
            if self._until is not None:
                records = [record for record in records if record.offset < self._until.get(record.home, 0)]
            self._attempts.note(records)
        except LimelightError as error:
            self._recovery.retry_or_raise(error)
            return []
        return list(self._cut(records))

    def is_rewound(self) -> bool:
        """Goes back to the committed offsets after a failure; False if that has to be tried again.

        Raises:
            LimelightError: trying again cannot help.
        """
        if not self._ownership.suspended:
            return True
        if self._recovery.is_unsettled:
            # An open transaction may move the offsets; whoever delivers is about to end it.
            self.stay_a_member()
            return False
        try:
            self._source.rewind()
        except LimelightError as error:
            self._recovery.retry_or_raise(error)
            # However often it takes: who does not poll is cast out of the group.
            self.stay_a_member()
            return False
        self._ownership.resume()
        return True

    def stay_a_member(self) -> None:
        """Polls for the sake of the group alone.

        Raises:
            LimelightError: trying again cannot help.
        """
        try:
            self._source.pause()
            # Nothing comes but what a rebalance brings, and that is left to its next owner, or read again.
            self._source.poll(max_records=1, timeout_seconds=0)
        except LimelightError as error:
            # What is under way may be delivered all the same.
            if not error.retriable:
                raise
            log.warning("polling failed", reason=str(error))

    def is_complete(self) -> bool:
        """True if everything `until` was read from our partitions.

        Without a partition there is still something to do: those who have them may die.

        Raises:
            LimelightError: trying again cannot help.
        """
        if self._until is None or self._ownership.suspended:
            return False
        try:
            positions = self._source.positions()
        except LimelightError as error:
            self._recovery.retry_or_raise(error)
            return False
        assigned = self._source.assignment()
        return bool(assigned) and all(positions.get(each, -1) >= self._until.get(each, 0) for each in assigned)

    def _cut(self, records: Sequence[Record]) -> Iterator[Slice]:
        """Stamps what a poll brought. Suspects go into slices of their own."""
        epochs, now_seconds = self._ownership.epochs({record.home for record in records}), time.monotonic()
        owned = [record for record in records if record.home in epochs]
        for suspect, run in groupby(owned, key=self._attempts.is_suspect):
            for part in cut(list(run), max_bytes=self._slice_bytes):
                homes = {record.home for record in part}
                stamps = {home: epochs[home] for home in homes}
                yield Slice(part, stamps, size_of(part), now_seconds, suspect)
