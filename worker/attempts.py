"""Recognises a record that kills the process: workers that begin at an offset leave a note there for their successors.

Before the first records of a newly assigned partition are scored, their offset is committed once more with the number
of workers that began there. The next transaction commits an empty note, so a number that grows means that workers died
without getting past the offset. After `DEATHS` of them the records that may hold the killer are *suspects*: they are
scored one by one, where a death does not matter (see `worker.caution`).
"""

import re
from collections.abc import Sequence
from typing import NamedTuple

import structlog

from worker.errors import BrokerUnreachableError, DeliveryError
from worker.ports import Committed, Partition, Record, Source

DEATHS = 2
"""One death may be anybody's; a second one at the same offset is a pattern."""

_NOTE = re.compile(r"attempts=(\d{1,9})")

log = structlog.get_logger("worker")


class _Suspects(NamedTuple):
    until: int
    """Offset behind the last of them."""
    attempts: int


_NOBODY = _Suspects(until=0, attempts=1)


class Attempts:
    """Counts the workers that began where this one begins. Used on the reading thread, but for `acquit`."""

    def __init__(self, source: Source, *, reach_records: int) -> None:
        """
        Args:
            source: keeps the notes beside its committed offsets.
            reach_records: how far behind the committed offset a worker may have been when it died.
        """
        self._source = source
        self._reach_records = reach_records
        self._noted: set[Partition] = set()
        self._suspects: dict[Partition, _Suspects] = {}

    def note(self, records: Sequence[Record]) -> None:
        """Leaves a note where `records` begin in a partition that this worker has not read before.

        Raises:
            TransportError: the group's offsets cannot be read now, or it did not take the note.
        """
        # What was withdrawn during the poll is its new owner's to note.
        assigned = self._source.assignment()
        self._noted &= assigned
        begins: dict[Partition, int] = {}
        if not records:
            return
        unnoted = assigned - self._noted
        for record in records:
            if record.home in unnoted:
                begins.setdefault(record.home, record.offset)
        if not begins:
            return
        found = self._source.committed(begins)
        attempts = {home: attempts_of(found[home].metadata) if home in found else 0 for home in begins}
        notes = {home: Committed(begins[home], f"attempts={attempts[home] + 1}") for home in begins}
        try:
            self._source.commit(notes)
        except DeliveryError as error:
            # Not a delivery that was aborted: nothing but the note is missing.
            raise BrokerUnreachableError(f"no note could be left where reading begins: {error}") from error
        self._noted |= begins.keys()
        for (topic, partition), begin in begins.items():
            if attempts[topic, partition] >= DEATHS:
                self._suspects[topic, partition] = _Suspects(
                    begin + self._reach_records, attempts[topic, partition] + 1
                )
                log.warning(
                    "workers died at this offset: its records are scored one by one",
                    position=f"{topic}-{partition}-{begin}",
                    deaths=attempts[topic, partition],
                )

    def is_suspect(self, record: Record) -> bool:
        """True if workers died where `record` may have been under way."""
        return record.offset < self._suspects.get(record.home, _NOBODY).until

    def acquit(self) -> None:
        """The killer was found: that explains the deaths, and nobody is a suspect any more."""
        self._suspects.clear()

    def count(self, record: Record) -> int:
        """How many workers began where a suspect stands, this one included."""
        return self._suspects.get(record.home, _NOBODY).attempts


def attempts_of(metadata: str) -> int:
    """The number in a note; 0 for any other text, which another program may have left."""
    match = _NOTE.fullmatch(metadata)
    return int(match[1]) if match else 0
