"""What was sent, what was answered when, and the verdict.

Axis of everything is the *source*: the partition and offset of a record of the input topic. The feeder notes a record
when the broker has confirmed it; the reader notes every answer (a prediction or a dead letter) as it arrives. The two
come from different threads and in any order, and an answer may overtake the confirmation of its own record.

==============  =====================================================================================
finding         meaning
==============  =====================================================================================
lost            a record without an answer
duplicated      an answer after the first
disordered      a first answer behind that of a later record, or in another partition than those before
altered         a dead letter whose key, value or first headers are not the record's own
misjudged       a prediction where a dead letter is due, or the reverse
stray           an answer to a record that was never sent, or that names none
==============  =====================================================================================
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterable, Sequence
from typing import Literal, NamedTuple

Headers = Sequence[tuple[str, bytes | None]]
Kind = Literal["prediction", "dead letter"]

LOOK_SECONDS = 0.05
"""How often a condition is tried again that no note makes true."""


class Source(NamedTuple):
    """Where a record of the input topic stands."""

    partition: int
    offset: int


class Sent(NamedTuple):
    """A record that the broker has confirmed."""

    source: Source
    identity: Hashable
    """An id that only this record has. An answer names this, or the source."""
    expected: Kind
    confirmed_seconds: float
    """On the monotonic clock."""
    key: bytes | None
    value: bytes | None
    headers: Headers


class Answer(NamedTuple):
    """A record of an output topic, as a `read_committed` reader got it."""

    identity: Hashable | None
    """A source, or an id; None if the record names neither."""
    kind: Kind
    topic: str
    partition: int
    arrived_seconds: float
    """On the monotonic clock."""
    timestamp_ms: int
    """The record's own timestamp."""
    letter: tuple[bytes | None, bytes | None, Headers] | None
    """Key, value and headers of a dead letter."""


class Verdict(NamedTuple):
    """Sources, one for each finding; `stray` holds identities."""

    sent: int
    answered: int
    lost: list[Source]
    duplicated: list[Source]
    disordered: list[Source]
    altered: list[Source]
    misjudged: list[Source]
    stray: list[Hashable | None]

    def findings(self, *, duplicates_allowed: bool = False) -> dict[str, str]:
        """What was promised and not kept: name -> how many, and the first. Empty if all is well."""
        ignored = {"sent", "answered", *({"duplicated"} if duplicates_allowed else ())}
        return {
            name: f"{len(found)}, first {found[0]}"
            for name, found in self._asdict().items()
            if name not in ignored and found
        }


class Notebook(ABC):
    """Takes notes from several threads. Who waits on it is woken by every note."""

    def __init__(self) -> None:
        self._changed = threading.Condition()

    @abstractmethod
    def note_sent(self, records: Iterable[Sent]) -> None:
        """The broker has confirmed `records`."""

    @abstractmethod
    def note_answers(self, answers: Iterable[Answer]) -> None:
        """The reader got `answers`, in the order of their partition."""

    def wait_for(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Waits until `condition` holds; it is tried after every note, and now and then."""
        deadline = time.monotonic() + seconds
        # The condition runs without the lock: it may ask a broker.
        while not condition():
            remaining = deadline - time.monotonic()
            if remaining <= 0:
                return False
            with self._changed:
                self._changed.wait(min(remaining, LOOK_SECONDS))
        return True


class Ledger(Notebook):
    """Keeps every record and every answer."""

    def __init__(self) -> None:
        super().__init__()
        self._sent: dict[Source, Sent] = {}
        self._named: dict[Hashable, Sent] = {}
        """By source and by id."""
        self._answers: list[Answer] = []
        self._first: dict[Source, Answer] = {}
        self._early: dict[Hashable, Answer] = {}
        """Identity -> answer that came before its record was noted."""
        self._pending: dict[Source, Sent] = {}
        self._reached: dict[int, float] = {}
        """Partition -> when the latest of its answered records had been confirmed."""
        self.last_answer_seconds = 0.0
        """When the latest answer arrived, on the monotonic clock."""

    def note_sent(self, records: Iterable[Sent]) -> None:
        """See `Notebook`."""
        with self._changed:
            for record in records:
                self._sent[record.source] = self._named[record.source] = self._named[record.identity] = record
                self._pending[record.source] = record
                for identity in (record.source, record.identity):
                    if answer := self._early.pop(identity, None):
                        self._settle(record, answer)
            self._changed.notify_all()

    def note_answers(self, answers: Iterable[Answer]) -> None:
        """See `Notebook`."""
        with self._changed:
            for answer in answers:
                self._answers.append(answer)
                self.last_answer_seconds = answer.arrived_seconds
                if record := self._named.get(answer.identity):
                    self._settle(record, answer)
                else:
                    self._early.setdefault(answer.identity, answer)
            self._changed.notify_all()

    def excuse(self, partition: int, offsets: range) -> int:
        """Forgets unanswered records that were deleted from the log before anybody could read them.

        Returns:
            How many they were.
        """
        with self._changed:
            gone = [each for each in self._pending if each.partition == partition and each.offset in offsets]
            for source in gone:
                record = self._sent.pop(source)
                del self._pending[source], self._named[source], self._named[record.identity]
            return len(gone)

    @property
    def answered(self) -> int:
        """How many records have an answer."""
        return len(self._first)

    def pending(self, *, confirmed_before: float = float("inf")) -> list[Sent]:
        """Records without an answer that were confirmed before that moment."""
        with self._changed:
            return [record for record in self._pending.values() if record.confirmed_seconds < confirmed_before]

    def first_answer(self, record: Sent) -> Answer | None:
        """The first answer to a record."""
        return self._first.get(record.source)

    def answered_records(self) -> list[tuple[Sent, Answer]]:
        """Every record that has an answer, with the first of them."""
        with self._changed:
            return [(self._sent[source], answer) for source, answer in self._first.items()]

    def answer_to(self, identity: Hashable) -> Answer | None:
        """The first answer to the record of that source or id."""
        record = self._named.get(identity)
        return None if record is None else self.first_answer(record)

    def reached(self, partition: int) -> float:
        """When the latest of the partition's answered records had been confirmed; 0 while none is answered."""
        return self._reached.get(partition, 0.0)

    def longest_waits(self, *, since: float, until: float) -> dict[int, float]:
        """Input partition -> longest time in seconds in which a reader got no answer to its records.

        Only where records go on coming is this a measure of the worker; the feeder sees to that.
        """
        with self._changed:
            last: dict[int, float] = {}
            longest: dict[int, float] = {}
            for answer in self._answers:
                record = self._named.get(answer.identity)
                if record is None or answer.arrived_seconds > until:
                    continue
                partition, arrived = record.source.partition, answer.arrived_seconds
                if arrived >= since and partition in last:
                    longest[partition] = max(longest.get(partition, 0.0), arrived - last[partition])
                last[partition] = arrived
            for partition in {source.partition for source in self._pending}:
                # Still waiting: the partition may never be answered again.
                silent_since = last.get(partition, since)
                longest[partition] = max(longest.get(partition, 0.0), until - silent_since)
            return longest

    def longest_confirmation(self, *, since: float) -> float:
        """Longest time in seconds in which the broker confirmed nothing to the feeder in one partition.

        What a plain producer has to wait is the brokers' share of what a reader waits.
        """
        with self._changed:
            last: dict[int, float] = {}
            longest = 0.0
            for source, record in self._sent.items():
                if record.confirmed_seconds >= since and source.partition in last:
                    longest = max(longest, record.confirmed_seconds - last[source.partition])
                last[source.partition] = record.confirmed_seconds
            return longest

    def judge(self) -> Verdict:
        """Compares the answers with what was sent. Call it when nobody takes notes any more."""
        with self._changed:
            judge = _Judge(self._sent, self._named)
            for answer in self._answers:
                judge.take(answer)
            return judge.verdict()

    def _settle(self, record: Sent, answer: Answer) -> None:
        if self._pending.pop(record.source, None) is None:
            return
        self._first[record.source] = answer
        partition = record.source.partition
        self._reached[partition] = max(self._reached.get(partition, 0.0), record.confirmed_seconds)


class _Judge:
    """Goes through the answers once, in the order of their partitions."""

    def __init__(self, sent: dict[Source, Sent], named: dict[Hashable, Sent]) -> None:
        self._sent, self._named = sent, named
        self._found = Verdict(len(sent), 0, [], [], [], [], [], [])
        self._answered: set[Source] = set()
        self._homes: dict[tuple[str, int], int] = {}
        self._last: dict[tuple[str, int], int] = {}

    def take(self, answer: Answer) -> None:
        record = self._named.get(answer.identity)
        if record is None:
            self._found.stray.append(answer.identity)
            return
        source = record.source
        if answer.letter is not None and not _is_untouched(record, answer.letter):
            self._found.altered.append(source)
        if answer.kind != record.expected:
            self._found.misjudged.append(source)
        if source in self._answered:
            self._found.duplicated.append(source)
            return
        self._answered.add(source)
        # Kafka orders within a partition of a topic only: predictions and dead letters are judged apart.
        stream = (answer.topic, source.partition)
        home = self._homes.setdefault(stream, answer.partition)
        if answer.partition != home or source.offset <= self._last.get(stream, -1):
            self._found.disordered.append(source)
        self._last[stream] = max(source.offset, self._last.get(stream, -1))

    def verdict(self) -> Verdict:
        lost = sorted(self._sent.keys() - self._answered)
        return self._found._replace(answered=len(self._answered), lost=lost)


def _is_untouched(record: Sent, letter: tuple[bytes | None, bytes | None, Headers]) -> bool:
    key, value, headers = letter
    own = list(headers[: len(record.headers)])
    return (key, value, own) == (record.key, record.value, list(record.headers))
