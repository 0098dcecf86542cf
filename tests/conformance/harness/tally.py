"""The ledger of a run that is too long to keep every record: two numbers for each, and latencies by the interval."""

from array import array
from collections.abc import Iterable
from typing import NamedTuple

from harness.ledger import Answer, Notebook, Sent, Source

MANY = 255


class Counts(NamedTuple):
    """How a run stands."""

    sent: int
    answered: int
    lost: int
    duplicated: int
    stray: int


class Tally(Notebook):
    """Counts the answers to each record. Records must be noted in the order of their partition, as a feeder does."""

    def __init__(self, *, partitions: int) -> None:
        super().__init__()
        self._confirmed = [array("d") for _ in range(partitions)]
        """Partition -> offset -> when it was confirmed."""
        self._answers = [bytearray() for _ in range(partitions)]
        """Partition -> offset -> number of answers."""
        self._latencies: list[float] = []
        self._stray = 0
        self.sent = 0
        self.answered = 0
        """Answers, repeated ones included."""

    def note_sent(self, records: Iterable[Sent]) -> None:
        """See `Notebook`."""
        with self._changed:
            for record in records:
                self._confirmed[record.source.partition].append(record.confirmed_seconds)
                self.sent += 1
            self._changed.notify_all()

    def note_answers(self, answers: Iterable[Answer]) -> None:
        """See `Notebook`."""
        with self._changed:
            for answer in answers:
                self.answered += 1
                if isinstance(answer.identity, Source):
                    self._note(answer.identity, answer.arrived_seconds)
                else:
                    self._stray += 1
            self._changed.notify_all()

    def take_latencies(self) -> list[float]:
        """Seconds between the confirmation of a record and the arrival of its answer, since the last call; sorted."""
        with self._changed:
            taken, self._latencies = self._latencies, []
        return sorted(taken)

    def count(self) -> Counts:
        """How it stands now. An answer without a record is stray, and so is one that names no source."""
        with self._changed:
            lost = duplicated = 0
            stray = self._stray
            for confirmed, answers in zip(self._confirmed, self._answers, strict=True):
                known, beyond = answers[: len(confirmed)], answers[len(confirmed) :]
                lost += known.count(0) + len(confirmed) - len(known)
                duplicated += sum(count - 1 for count in known if count > 1)
                stray += sum(beyond)
            return Counts(self.sent, self.answered, lost, duplicated, stray)

    def _note(self, source: Source, arrived_seconds: float) -> None:
        counts, confirmed = self._answers[source.partition], self._confirmed[source.partition]
        if source.offset >= len(counts):
            counts.extend(bytes(source.offset + 1 - len(counts)))
        counts[source.offset] = min(MANY, counts[source.offset] + 1)
        if source.offset < len(confirmed):
            # Otherwise the answer has overtaken the confirmation.
            self._latencies.append(arrived_seconds - confirmed[source.offset])
