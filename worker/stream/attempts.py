"""Recognises a record that kills the process: workers that begin at an offset leave a note there for their successors.

Before the first records of a newly assigned partition are scored, their offset is committed once more with the number
of workers that began there. The next transaction commits an empty note, and who gives a partition back in good order
before it has sent anything from there takes its own note back. So a number that grows means that workers died without
getting past the offset. After `DEATHS` of them the records that may hold the killer are *suspects*: they are scored one
by one, where a death does not matter (see `worker.stream.caution`).

::

    n workers ── begins: n + 1 ──┬── commits: no note
                                 ├── gives the partition back, nothing was sent from it: n
                                 └── dies: n + 1, and its successor begins with that
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import structlog

from worker.errors import BrokerUnreachableError, DeliveryError
from worker.ports import Committed, Partition, Record, Source

DEATHS = 2
"""One death may be anybody's; a second one at the same offset is a pattern."""

_NOTE = re.compile(r"attempts=(\d{1,9});")
"""With an end of its own: librdkafka's binding may read on behind the end of a text (`worker.transport.librdkafka`)."""

log = structlog.get_logger("worker")


class _Suspects:
    """The first records of a partition, as many as may have been under way. Offsets have gaps: records are counted."""

    def __init__(self, *, attempts: int, records: int) -> None:
        self.attempts = attempts
        self._left = records
        self._last = -1

    def meet(self, offset: int) -> None:
        """A record was read, for the first time or again."""
        if offset > self._last and self._left:
            self._last = offset
            self._left -= 1

    def __contains__(self, offset: int) -> bool:
        return offset <= self._last


class _Noted(NamedTuple):
    """Our note in one partition."""

    begin: int
    """The first record that was read. It may stand behind the offset of the note: markers of transactions and gaps take
    offsets, too."""
    before: Committed
    """What stood there before, at the offset of the note."""


class Attempts:
    """Counts the workers that began where this one begins. All but `acquit` and `sending` is for the reading thread."""

    def __init__(self, source: Source, *, reach_records: int) -> None:
        """
        Args:
            source: keeps the notes beside its committed offsets.
            reach_records: how many records behind the committed offset may have been under way when a worker died.
        """
        self._source = source
        self._reach_records = reach_records
        self._noted: dict[Partition, _Noted] = {}
        self._left: dict[Partition, Committed] = {}
        """Our last notes, also those whose answer was lost. For as long as we live they count nobody's death."""
        self._unsent: set[Partition] = set()
        """Nothing was sent from there since our note: what stood there before may be put back."""
        self._departed: set[Partition] = set()
        """Went while a note was being left."""
        self._suspects: dict[Partition, _Suspects] = {}
        source.commit_at_departure(self.take_back)

    def note(self, records: Sequence[Record]) -> None:
        """Leaves a note where `records` begin in a partition that this worker has not read before.

        Raises:
            TransportError: the group's offsets cannot be read now, or it did not take the note.
        """
        # What was withdrawn during the poll is its new owner's to note.
        assigned = self._source.assignment()
        begins: dict[Partition, int] = {}
        for record in records:
            if record.home in assigned:
                begins.setdefault(record.home, record.offset)
        self._leave_notes({home: begin for home, begin in begins.items() if home not in self._noted})
        for home, begin in begins.items():
            if home in self._noted and begin == self._noted[home].begin:
                # Read from the beginning, once more perhaps: whatever was sent from there did not commit.
                self._unsent.add(home)
        for record in records:
            if (suspects := self._suspects.get(record.home)) is not None:
                suspects.meet(record.offset)

    def _leave_notes(self, begins: Mapping[Partition, int]) -> None:
        if not begins:
            return
        found = self._source.committed(begins)
        attempts = {home: self._others(home, found[home]) if home in found else 0 for home in begins}
        # Never past what is committed: a note must not answer for records.
        places = {home: min(begin, found[home].offset) if home in found else begin for home, begin in begins.items()}
        self._departed.clear()
        notes = {home: _note(places[home], attempts[home] + 1) for home in begins}
        self._left |= notes
        try:
            self._source.commit(notes)
        except DeliveryError as error:
            # Not a delivery that was aborted: nothing but the note is missing.
            raise BrokerUnreachableError(f"no note could be left where reading begins: {error}") from error
        for home, begin in begins.items():
            if home in self._departed:
                continue  # whoever has it now may be further on
            self._noted[home] = _Noted(begin, _note(places[home], attempts[home]))
            self._suspects.pop(home, None)
            if attempts[home] >= DEATHS:
                self._suspects[home] = _Suspects(attempts=attempts[home] + 1, records=self._reach_records)
                log.warning(
                    "workers died at this offset: its records are scored one by one",
                    position=f"{home[0]}-{home[1]}-{begin}",
                    deaths=attempts[home],
                )

    def _others(self, home: Partition, found: Committed) -> int:
        """How many workers began there before us, as a note says that may be our own."""
        return attempts_of(found.metadata) - (found == self._left.get(home))

    def sending(self, partitions: Iterable[Partition]) -> None:
        """Offsets of `partitions` are about to be sent: from now on only the brokers know where the group is."""
        self._unsent.difference_update(partitions)

    def take_back(self, partitions: Collection[Partition]) -> dict[Partition, Committed]:
        """What to commit for `partitions`, which are ours no longer, so that this worker does not count.

        Where they were lost it is too late for that. What we remember of them is out of date in any case.
        """
        self._departed.update(partitions)
        unsent = self._unsent.intersection(partitions)
        self._unsent -= unsent
        before = {home: self._noted.pop(home).before for home in partitions if home in self._noted}
        return {home: before[home] for home in unsent if home in before}

    def is_suspect(self, record: Record) -> bool:
        """True if workers died where `record` may have been under way."""
        suspects = self._suspects.get(record.home)
        return suspects is not None and record.offset in suspects

    def acquit(self) -> None:
        """The killer was found: that explains the deaths, and nobody is a suspect any more."""
        self._suspects.clear()

    def count(self, record: Record) -> int:
        """How many workers began where a suspect stands, this one included."""
        suspects = self._suspects.get(record.home)
        return 1 if suspects is None else suspects.attempts


def _note(offset: int, attempts: int) -> Committed:
    return Committed(offset, f"attempts={attempts};" if attempts else "")


def attempts_of(metadata: str) -> int:
    """The number in a note; 0 for any other text, which another program may have left."""
    match = _NOTE.match(metadata)
    return int(match[1]) if match else 0
