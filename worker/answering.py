"""decode -> features -> micro-batches -> score -> encode: from records to answers, on a stream and on files alike.

What fails is told apart by its stage. A micro-batch that the model cannot score is halved until the guilty record is
alone, so that its neighbours get their answers. Before that record is blamed, the model has to prove itself on records
that it must be able to answer: if it fails there, the model is guilty, and no record.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from copy import copy
from enum import Enum
from typing import NamedTuple, Protocol, Self, TypeVar

import msgspec
import numpy as np
import structlog

from worker.batching import bisect, plan_batches
from worker.bundle import AttentionAxes, Manifest
from worker.errors import (
    BundleError,
    DecodeError,
    EncodeError,
    FeatureError,
    RecordError,
    ScoringError,
    UnscorableError,
    ValidationError,
)
from worker.features import EncodedText, TextEncoder, pad
from worker.limits import Limits
from worker.messages import AttentionMap, Classification, ModelRef, Prediction, event_type
from worker.ports import Clock, Record, Scorer, Scores

WEIGHT_DECIMALS = 6


class Skipped(Enum):
    """What gets no answer, because the settings say so."""

    TOMBSTONE = "tombstone"


Answer = bytes | RecordError | Skipped
"""An encoded Prediction, or why there is none."""

Failure = TypeVar("Failure", bound=Exception)

log = structlog.get_logger("worker")


class Timer(Protocol):
    """Measures one stage of a slice."""

    def __call__(self, stage: str, /) -> AbstractContextManager[object]:
        """Used as ``with timer("score"): ...``."""
        ...


class _Row(NamedTuple):
    """A record that can be scored."""

    place: int
    record: Record
    event: msgspec.Struct
    text: EncodedText


class Detail(NamedTuple):
    """What an answer tells."""

    abstain_below: float = 0.0
    """Probability of the best label under which it is not named."""
    weights: int | None = None
    """How many of the largest weights are shown; None for all."""
    token_text: bool = True
    """Whether the text of the tokens is repeated."""


DEFAULT_LIMITS, EVERYTHING = Limits(), Detail()


class Answerer:
    """Turns records into answers, in input order. Used on a stream and on files alike."""

    def __init__(
        self,
        manifest: Manifest,
        vocabulary: Sequence[str],
        scorer: Scorer,
        *,
        prove: Callable[[], None],
        record_field: str,
        id_field: str,
        skip_tombstones: bool,
        batch_records: int,
        limits: Limits = DEFAULT_LIMITS,
        detail: Detail = EVERYTHING,
        clock: Clock,
        timer: Timer,
    ) -> None:
        """
        Args:
            manifest: of the bundle that `scorer` runs.
            vocabulary: token of each id.
            scorer: the model.
            prove: has the model answer its golden records; raises `ScoringError` or `BundleError` if it cannot.
            record_field: field of the record that holds the model's text.
            id_field: field of the record that holds its id.
            skip_tombstones: gives a record without a value no answer in place of a refusal.
            batch_records: most rows in one micro-batch.
            limits: records beyond them are refused.
            detail: what an answer tells.
            clock: for the scored time.
            timer: measures the stages.
        """
        self._labels = manifest.labels
        self._axes = manifest.attention
        self._field = manifest.fields[0].name
        self.model = ModelRef(manifest.name, manifest.version, manifest.training.rounds)
        """What the predictions name."""
        self._decoder = msgspec.json.Decoder(event_type({self._field: record_field}, id_field))
        self._record_field = record_field
        self._encode = TextEncoder(
            vocabulary, max_tokens=manifest.fields[0].max_tokens, refused_tokens=limits.tokens
        ).encode
        self._limits = limits
        self._detail = detail
        self._scorer = scorer
        self._prove = prove
        self._skip_tombstones = skip_tombstones
        self._batch_records = batch_records
        self._clock = clock
        self._timer = timer
        self._to_json = msgspec.json.Encoder().encode

    def under(self, generation: int) -> Self:
        """The same, with predictions that name this generation of the deployment."""
        same = copy(self)
        same.model = msgspec.structs.replace(self.model, generation=generation)
        return same

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """Answers every record.

        Raises:
            ScoringError: the model failed; no record is to blame.
        """
        answers: list[Answer | None] = [None] * len(records)
        rows: list[_Row] = []
        with self._timer("decode"):
            for place, record in enumerate(records):
                read = self._read(place, record)
                if isinstance(read, _Row):
                    rows.append(read)
                else:
                    answers[place] = read
        for batch in plan_batches([len(row.text.ids) for row in rows], max_rows=self._batch_records):
            for members, scores in self._score([rows[member] for member in batch]):
                with self._timer("encode"):
                    for row, answer in zip(members, self._encode_batch(members, scores), strict=True):
                        answers[row.place] = answer
        complete = [answer for answer in answers if answer is not None]
        assert len(complete) == len(records), "every record has an answer"
        return complete

    def _read(self, place: int, record: Record) -> _Row | RecordError | Skipped:
        if record.value is None and self._skip_tombstones:
            return Skipped.TOMBSTONE
        stage: type[RecordError] = DecodeError
        try:
            event = self._decode(record)
            stage = FeatureError
            return _Row(place, record, event, self._encode(getattr(event, self._field)))
        except RecordError as error:
            return _without_frames(error)
        except Exception as error:  # noqa: BLE001 - told, and answered
            return _unexpected(stage, record, error)

    def _decode(self, record: Record) -> msgspec.Struct:
        if record.fault is not None:
            raise record.fault
        self._limits.check(record)
        if record.value is None:
            raise DecodeError(
                "the record has no value (a tombstone). Send a JSON object, or set LIMELIGHT_TOMBSTONES=skip."
            )
        try:
            # msgspec skips unknown fields without looking at their bytes; a passthrough would carry bad ones on.
            record.value.decode()
            event: msgspec.Struct = self._decoder.decode(record.value)
            # It would stand in the answer as it is: numbers that no reader can hold, surrogates, any depth.
            _require_readable(event.passthrough)  # type: ignore[attr-defined]
        except UnicodeDecodeError as error:
            raise DecodeError(f"the value is not UTF-8: {error.reason} at byte {error.start}.") from error
        except msgspec.ValidationError as error:
            raise ValidationError(f"{error}. The model reads the text field `{self._record_field}`.") from error
        except msgspec.DecodeError as error:
            raise DecodeError(f"the value is not JSON: {error}.") from error
        except RecursionError as error:
            raise DecodeError("the value nests deeper than the decoder can follow.") from error
        if not getattr(event, self._field):
            raise ValidationError(f"`{self._record_field}` is empty. The model needs at least one token.")
        return event

    def _score(self, batch: Sequence[_Row]) -> Iterator[tuple[Sequence[_Row], Scores | UnscorableError]]:
        """Scores `batch`, in parts if it has to.

        Raises:
            ScoringError: the model is guilty.
        """
        proved = False
        for rows, scores in bisect(batch, self._score_rows):
            if isinstance(scores, ScoringError):
                if not proved:
                    self._prove_model(scores)
                    proved = True
                yield rows, UnscorableError(f"{scores} The model answers its golden records.")
            else:
                yield rows, scores

    def _score_rows(self, rows: Sequence[_Row]) -> Scores | ScoringError:
        with self._timer("score"):
            try:
                return self._scorer.score(pad([row.text.ids for row in rows]))
            except ScoringError as error:
                return _without_frames(error)

    def _prove_model(self, failure: ScoringError) -> None:
        try:
            self._prove()
        except (ScoringError, BundleError) as error:
            raise ScoringError(f"{failure} It fails on its golden records, too: {error}") from error

    def _encode_batch(self, rows: Sequence[_Row], scores: Scores | UnscorableError) -> Iterator[Answer]:
        if isinstance(scores, UnscorableError):
            yield from [scores] * len(rows)
            return
        scored_ms = self._clock.now_ms()
        probabilities = scores.probabilities.tolist()
        best = scores.probabilities.argmax(axis=1).tolist()
        # float64 before rounding: a rounded float32 prints with its own noise.
        weights = {name: np.round(w.astype(np.float64), WEIGHT_DECIMALS) for name, w in scores.attention.items()}
        for index, row in enumerate(rows):
            attention = {name: array[index, : len(row.text.ids)].tolist() for name, array in weights.items()}
            try:
                output = self._classify(probabilities[index], best[index])
                yield self._to_json(self._predict(row, output, attention, scored_ms))
            except Exception as error:  # noqa: BLE001 - told, and answered
                yield _unexpected(EncodeError, row.record, error)

    def _classify(self, probabilities: list[float], best: int) -> Classification:
        by_label = dict(zip(self._labels, (round(p, WEIGHT_DECIMALS) for p in probabilities), strict=True))
        label = self._labels[best]
        # The model's own number decides, not the rounded one that is shown.
        abstained = probabilities[best] < self._detail.abstain_below
        return Classification(
            label=None if abstained else label,
            score=by_label[label],
            probabilities=by_label,
            abstained=abstained,
        )

    def _predict(
        self, row: _Row, output: Classification, attention: dict[str, list[float]], scored_ms: int
    ) -> Prediction:
        text: str = getattr(row.event, self._field)
        position = row.record.position
        identifier = row.event.id  # type: ignore[attr-defined]
        return Prediction(
            id=str(position) if identifier is None else str(identifier),
            source=position,
            output=output,
            attention=[self._show(axes, text, row.text, attention[axes.name]) for axes in self._axes],
            model=self.model,
            event_timestamp_ms=row.record.timestamp_ms,
            scored_timestamp_ms=scored_ms,
            passthrough=row.event.passthrough,  # type: ignore[attr-defined]
        )

    def _show(self, axes: AttentionAxes, text: str, encoded: EncodedText, weights: list[float]) -> AttentionMap:
        spans = encoded.spans
        if (most := self._detail.weights) is not None and most < len(weights):
            kept = strongest(weights, most)
            spans, weights = [spans[place] for place in kept], [weights[place] for place in kept]
        return AttentionMap(
            name=axes.name,
            axes=axes.axes,
            field=axes.field,
            spans=spans,
            weights=weights,
            truncated=encoded.truncated,
            items=[text[start:end] for start, end in spans] if self._detail.token_text else msgspec.UNSET,
        )


def strongest(weights: Sequence[float], count: int) -> list[int]:
    """Places of the `count` largest weights, in the order of the text; among equals the first."""
    return sorted(heapq.nlargest(count, range(len(weights)), key=weights.__getitem__))


def _require_readable(passthrough: msgspec.Raw | msgspec.UnsetType) -> None:
    if isinstance(passthrough, msgspec.Raw):
        try:
            msgspec.json.decode(passthrough)
        except msgspec.ValidationError as error:
            raise ValidationError(f"passthrough cannot be read back: {error}.") from error


def _without_frames(error: Failure) -> Failure:
    """An error that is kept as a value.

    Its traceback would hold the frames, they the slice and the model, and the slice the error: a circle that lasts
    until the garbage collector comes by, which may be after a hundred megabytes of models that were swapped.
    """
    error.__traceback__ = error.__cause__ = error.__context__ = None
    return error


def _unexpected(stage: type[RecordError], record: Record, error: Exception) -> RecordError:
    """A fault of ours that one record met: its neighbours go on."""
    log.error("a record met a fault of the worker", position=str(record.position), exc_info=error)
    return stage(f"unexpected {type(error).__name__}: {error}. This is a fault of the worker: please report it.")
