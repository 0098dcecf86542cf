"""The wire contract: what travels through Kafka, one type per message.

=============  ======================  =======================================================================
type           topic                   written by
=============  ======================  =======================================================================
Event          limelight.events        producers; only the fields that the model reads are required
Prediction     limelight.predictions   the worker, with the same key, in input order per partition
DeadLetter     limelight.events.dlq    the worker: the original record untouched, this type in its headers
WorkerStatus   limelight.status        the worker, once a second
RoundRecord    limelight.training      the trainer, once a round (and as JSON Lines beside the model)
=============  ======================  =======================================================================

Times are milliseconds since the epoch, as in Kafka. Text positions are half-open ``[start, end)`` character offsets
(Unicode code points) into the original text. Every message carries ``schema_version``. The JSON Schemas in
``worker/schemas`` are generated from these types by ``make schemas``.
"""

from collections.abc import Mapping
from typing import Any

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

from worker.errors import RecordError

SCHEMA_VERSION = 1

WEIGHT_DECIMALS = 6
"""Of probabilities and weights in a Prediction."""

Headers = list[tuple[str, bytes | None]]
"""Kafka record headers: keys may repeat, their order is kept, and a value may be null."""

ERROR_HEADER_PREFIX = "__connect.errors."
"""Kafka Connect's names for dead-letter headers, so that tools which know Connect understand ours."""


MAX_REASON_CHARACTERS = 500
"""A reason can quote the record; without a bound the dead letter could outgrow its topic's limit."""


class Position(Struct, frozen=True, order=True):
    """Where a record stands in Kafka. Exactly once is defined and counted on this."""

    topic: str
    partition: int
    offset: int

    def __str__(self) -> str:
        return f"{self.topic}-{self.partition}-{self.offset}"


class Event(Struct):
    """A record to score, as a text model reads it. `event_type` builds the variant that a bundle needs.

    Fields that are not named here are ignored.
    """

    text: str
    id: str | int | None = None
    """Optional name of the event; the default is its position, written ``topic-partition-offset``."""
    passthrough: Raw | UnsetType = UNSET
    """Any JSON value; it is copied into the Prediction byte for byte."""


class Classification(Struct, tag_field="task", tag="classify"):
    """Output of a ``classify`` model."""

    label: str | None
    """Null if the model was not sure enough."""
    score: float
    """Probability of the best label."""
    probabilities: dict[str, float]
    """Label -> probability, in the order of the manifest."""
    abstained: bool = False
    """True if the best label's probability was below what the worker's settings ask for."""


class AttentionMap(Struct):
    """Where the model looked in one field: `weights` are >= 0 and, unless cut to the top k, sum to 1."""

    name: str
    axes: list[str]
    field: str
    spans: list[tuple[int, int]]
    weights: list[float]
    """One weight for each span, rounded to 6 decimals."""
    truncated: bool
    """True if the field was longer than the model's ``max_tokens``; the rest was not read."""
    items: list[str] | UnsetType = UNSET
    """Text of each span, as it stands in the record."""


class ModelRef(Struct, frozen=True):
    """Which bundle answered."""

    name: str
    version: str
    round: int
    generation: int = 0
    """Of the registry's deployment under which it answered; 0 without a registry."""


class Prediction(Struct, kw_only=True):
    """The answer to one record."""

    schema_version: int = SCHEMA_VERSION
    id: str
    source: Position
    output: Classification
    attention: list[AttentionMap]
    model: ModelRef
    event_timestamp_ms: int
    scored_timestamp_ms: int
    passthrough: Raw | UnsetType = UNSET


class DeadLetter(Struct, kw_only=True):
    """Why a record was refused. Its key, value and headers stay as they were; this travels in added headers."""

    schema_version: int = SCHEMA_VERSION
    source: Position
    stage: str
    """One of decode, validate, features, score, encode, deliver."""
    error: str
    """Class name of the error."""
    message: str
    group_id: str
    attempts: int = 1
    """How often the group tried to answer the record. Once, unless the worker died of it."""

    @classmethod
    def of(cls, source: Position, error: RecordError, group_id: str, *, attempts: int = 1) -> "DeadLetter":
        """The account of why the record at `source` was refused."""
        return cls(
            source=source,
            stage=error.stage,
            error=type(error).__name__,
            message=str(error)[:MAX_REASON_CHARACTERS],
            group_id=group_id,
            attempts=attempts,
        )

    def to_headers(self) -> Headers:
        """Returns the headers to append to the refused record's own."""
        values = {
            "schema.version": str(self.schema_version),
            "topic": self.source.topic,
            "partition": str(self.source.partition),
            "offset": str(self.source.offset),
            "stage": self.stage,
            "exception.class.name": self.error,
            "exception.message": self.message,
            "group": self.group_id,
            "attempts": str(self.attempts),
        }
        # A reason that quotes half a character must not stop the stream.
        return [(ERROR_HEADER_PREFIX + name, value.encode(errors="replace")) for name, value in values.items()]

    @classmethod
    def from_headers(cls, headers: Headers) -> "DeadLetter":
        """Reads the last set of error headers, the one that the latest refusal appended.

        Raises:
            KeyError: the headers were not written by `to_headers`.
            ValueError: they only look like it.
        """
        latest = {name: value for name, value in headers if value is not None}

        def read(name: str) -> str:
            # Nothing else is decoded: a producer may use our prefix for bytes that are no text.
            return latest[ERROR_HEADER_PREFIX + name].decode()

        return cls(
            schema_version=int(read("schema.version")),
            source=Position(read("topic"), int(read("partition")), int(read("offset"))),
            stage=read("stage"),
            error=read("exception.class.name"),
            message=read("exception.message"),
            group_id=read("group"),
            # Letters from before this header was there.
            attempts=int(read("attempts")) if ERROR_HEADER_PREFIX + "attempts" in latest else 1,
        )


class WorkerStatus(Struct, kw_only=True):
    """A worker's own account of itself. Counters run from the start of the process."""

    schema_version: int = SCHEMA_VERSION
    group_id: str = ""
    """Consumer group of the worker; a name is its own only there."""
    instance: str
    process: str = ""
    """Which process has the name now: host name and process id."""
    timestamp_ms: int
    ready: bool
    model: ModelRef
    """The current one."""
    canary: ModelRef | UnsetType = UNSET
    """Answers a share of the keys, if there is one."""
    problem: str = ""
    """Why what answers is not what the registry asks for; empty if it is."""
    partitions: list[str]
    """Assigned partitions, written ``topic-partition``."""
    predictions_total: int
    dead_letters_total: int
    aborted_transactions_total: int
    lag_records: int
    """Records of the assigned partitions up to the ``read_committed`` end that are not committed yet."""
    rss_bytes: int

    @property
    def key(self) -> bytes:
        """Of the record that carries it: a compacted topic keeps the last status of each."""
        return status_key(self.group_id, self.instance)


def status_key(group_id: str, instance: str) -> bytes:
    """Key of a worker's statuses. Unambiguous, because Kafka allows no slash in the name of a member."""
    return f"{group_id}/{instance}".encode()


class RoundRecord(Struct, kw_only=True):
    """What one federated round did."""

    schema_version: int = SCHEMA_VERSION
    run: str
    round: int
    """Counted from 1."""
    rounds: int
    """How many rounds the run will have."""
    timestamp_ms: int
    seconds: float
    clients: list[int]
    """Indices of the cohort, in slot order; empty where a private run does not tell."""
    examples: int
    """Of the cohort, in one epoch; 0 where a private run does not tell."""
    train: dict[str, float]
    """Metrics over the cohort's own examples, e.g. ``loss`` and ``accuracy``."""
    heldout: dict[str, float] | UnsetType = UNSET
    """Metrics on held-out examples; present only on rounds that evaluate."""


def event_type(field_map: Mapping[str, str], id_field: str) -> type[Struct]:
    """Builds the struct that decodes exactly what a model reads, whatever the record's fields are called.

    Args:
        field_map: text field of the model -> field of the record.
        id_field: record field that holds the event's id.

    Returns:
        A struct type with one ``str`` attribute per model field, plus ``id`` and ``passthrough`` as in `Event`.
    """
    fields: list[Any] = [(name, str) for name in field_map]
    fields += [("id", str | int | None, None), ("passthrough", Raw | UnsetType, UNSET)]
    return msgspec.defstruct("Event", fields, rename={**field_map, "id": id_field})


MESSAGES: tuple[type[Struct], ...] = (Event, Prediction, DeadLetter, WorkerStatus, RoundRecord)
"""Every message that has a JSON Schema in ``worker/schemas``."""
