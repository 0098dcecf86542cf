"""Counts what became of every record, from the topics themselves.

Every record of the input topic must have exactly one answer, a Prediction or a dead letter, that names its position;
answers to the records of one partition must stand in their order in one partition; and a dead letter must be the
record itself, byte for byte, with only the worker's headers added.
"""

import hashlib
from typing import NamedTuple

import msgspec
from msgspec import Struct

from deploy.local.demo.attention import planted_lift
from deploy.local.demo.malformed import kind_of
from deploy.local.demo.records import Stored
from worker.messages import DeadLetter, Headers, Position, Prediction

ADDED_HEADERS = len(DeadLetter(source=Position("", 0, 0), stage="", error="", message="", group_id="").to_headers())


class Truth(Struct):
    """What an event says about itself, in fields that the worker does not read."""

    label: str
    planted: list[tuple[int, int]] = []


class Expected(NamedTuple):
    """What is kept of an input record."""

    timestamp_ms: int
    digest: bytes
    truth: Truth | None
    """None for a malformed record."""


class Audit(Struct):
    """The result; the lists hold source positions, one for each finding."""

    timestamps_ms: dict[Position, int] = {}
    """Of every input record."""
    predictions: int = 0
    dead_letters: int = 0
    well_formed: int = 0
    """Input records that should get a Prediction."""
    correct: int = 0
    """Of these, how many got one that gives their label."""
    unknown_labels: int = 0
    """Of these, how many have a label that the model cannot give."""
    planted_lifts: list[float] = []
    lost: list[Position] = []
    duplicated: list[Position] = []
    """Each answer after the first."""
    disordered: list[Position] = []
    """Answers behind that of a later record, or in another partition than the answers before."""
    altered: list[Position] = []
    """Dead letters that differ from their record."""
    misjudged: list[Position] = []
    """Predictions for malformed records, and dead letters for well-formed ones."""
    stray: list[Position] = []
    """Answers to records that do not exist."""

    def describe_findings(self) -> list[str]:
        """One line for each kind of finding; empty if everything is as promised."""
        findings = {
            "lost": self.lost,
            "duplicated": self.duplicated,
            "answered out of order": self.disordered,
            "changed in their dead letters": self.altered,
            "answered the wrong way (prediction or dead letter)": self.misjudged,
            "answered but never sent": self.stray,
        }
        return [f"{len(found)} records {what}, first {found[0]}" for what, found in findings.items() if found]


class Auditor:
    """Takes the records of the three topics, the input first, and judges."""

    def __init__(self) -> None:
        self._expected: dict[Position, Expected] = {}
        self._answered: set[Position] = set()
        self._homes: dict[tuple[str, int], int] = {}
        self._last: dict[tuple[str, int], int] = {}
        self._audit = Audit()

    def take_event(self, record: Stored) -> None:
        """A record of the input topic."""
        truth = None
        if record.value is not None and kind_of(record.headers) is None:
            truth = msgspec.json.decode(record.value, type=Truth)
        self._audit.well_formed += truth is not None
        digest = _digest(record.key, record.value, record.headers)
        self._expected[record.position] = Expected(record.timestamp_ms, digest, truth)

    def take_prediction(self, record: Stored) -> None:
        """A record of the output topic."""
        prediction = msgspec.json.decode(record.value or b"", type=Prediction)
        self._audit.predictions += 1
        expected = self._take_answer(record, prediction.source)
        if expected is None:
            return
        if expected.truth is None:
            self._audit.misjudged.append(prediction.source)
            return
        self._audit.correct += prediction.output.label == expected.truth.label
        self._audit.unknown_labels += expected.truth.label not in prediction.output.probabilities
        if prediction.attention:
            lift = planted_lift(prediction.attention[0], expected.truth.planted)
            if lift is not None:
                self._audit.planted_lifts.append(lift)

    def take_dead_letter(self, record: Stored) -> None:
        """A record of the dead-letter topic."""
        source = DeadLetter.from_headers(record.headers).source
        self._audit.dead_letters += 1
        expected = self._take_answer(record, source)
        if expected is None:
            return
        if expected.truth is not None:
            self._audit.misjudged.append(source)
        if _digest(record.key, record.value, record.headers[:-ADDED_HEADERS]) != expected.digest:
            self._audit.altered.append(source)

    def finish(self) -> Audit:
        """Call it when all three topics were read."""
        self._audit.lost = sorted(self._expected.keys() - self._answered)
        self._audit.timestamps_ms = {position: each.timestamp_ms for position, each in self._expected.items()}
        return self._audit

    def _take_answer(self, record: Stored, source: Position) -> Expected | None:
        """Checks what holds for both kinds; returns what is known of the source, unless the answer is one too many."""
        if source not in self._expected:
            self._audit.stray.append(source)
            return None
        if source in self._answered:
            self._audit.duplicated.append(source)
            return None
        self._answered.add(source)
        stream = (record.topic, source.partition)
        home = self._homes.setdefault(stream, record.partition)
        if record.partition != home or source.offset <= self._last.get(stream, -1):
            self._audit.disordered.append(source)
        self._last[stream] = max(source.offset, self._last.get(stream, -1))
        return self._expected[source]


def _digest(key: bytes | None, value: bytes | None, headers: Headers) -> bytes:
    """Equal only for records that are equal in every byte; None and empty differ."""
    return hashlib.blake2b(repr((key, value, list(map(tuple, headers)))).encode(), digest_size=16).digest()
