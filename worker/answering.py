"""decode -> features -> micro-batches -> score -> encode: from records to answers, on a stream and on files alike."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import NamedTuple, Protocol

import msgspec
import numpy as np

from worker.batching import plan_batches
from worker.bundle import Manifest
from worker.errors import DecodeError, RecordError, ScoringError, ValidationError
from worker.features import EncodedText, TextEncoder, pad
from worker.messages import AttentionMap, Classification, ModelRef, Prediction, event_type
from worker.ports import Clock, Record, Scorer, Scores

WEIGHT_DECIMALS = 6

Answer = bytes | RecordError
"""An encoded Prediction, or why there is none."""


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


class Answerer:
    """Turns records into answers, in input order. Used on a stream and on files alike."""

    def __init__(
        self,
        manifest: Manifest,
        vocabulary: Sequence[str],
        scorer: Scorer,
        *,
        record_field: str,
        id_field: str,
        batch_records: int,
        clock: Clock,
        timer: Timer,
    ) -> None:
        """
        Args:
            manifest: of the bundle that `scorer` runs.
            vocabulary: token of each id.
            scorer: the model.
            record_field: field of the record that holds the model's text.
            id_field: field of the record that holds its id.
            batch_records: most rows in one micro-batch.
            clock: for the scored time.
            timer: measures the stages.
        """
        self._labels = manifest.labels
        self._axes = manifest.attention
        self._field = manifest.fields[0].name
        self._model = ModelRef(manifest.name, manifest.version, manifest.training.rounds)
        self._decoder = msgspec.json.Decoder(event_type({self._field: record_field}, id_field))
        self._record_field = record_field
        self._encode = TextEncoder(vocabulary, max_tokens=manifest.fields[0].max_tokens).encode
        self._scorer = scorer
        self._batch_records = batch_records
        self._clock = clock
        self._timer = timer
        self._to_json = msgspec.json.Encoder().encode

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """Answers every record.

        Raises:
            ScoringError: the model failed; no record is to blame.
        """
        answers: list[Answer | None] = [None] * len(records)
        rows: list[_Row] = []
        with self._timer("decode"):
            for index, record in enumerate(records):
                try:
                    event = self._decode(record)
                    rows.append(_Row(index, record, event, self._encode(getattr(event, self._field))))
                except RecordError as error:
                    answers[index] = error
        for batch in plan_batches([len(row.text.ids) for row in rows], max_rows=self._batch_records):
            members = [rows[member] for member in batch]
            with self._timer("score"):
                scores = self._score(members)
            with self._timer("encode"):
                for row, prediction in zip(members, self._encode_batch(members, scores), strict=True):
                    answers[row.place] = prediction
        complete = [answer for answer in answers if answer is not None]
        assert len(complete) == len(records), "every record has an answer"
        return complete

    def _decode(self, record: Record) -> msgspec.Struct:
        if record.fault is not None:
            raise record.fault
        if record.value is None:
            raise DecodeError("the record has no value (a tombstone). Send a JSON object.")
        try:
            # msgspec skips unknown fields without looking at their bytes; a passthrough would carry bad ones on.
            record.value.decode()
            event: msgspec.Struct = self._decoder.decode(record.value)
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

    def _score(self, members: Sequence[_Row]) -> Scores:
        try:
            return self._scorer.score(pad([row.text.ids for row in members]))
        except ScoringError as error:
            positions = ", ".join(str(row.record.position) for row in members)
            raise ScoringError(f"{error} The batch held {positions}.") from error

    def _encode_batch(self, members: Sequence[_Row], scores: Scores) -> Iterator[bytes]:
        scored_ms = self._clock.now_ms()
        probabilities = scores.probabilities.tolist()
        best = scores.probabilities.argmax(axis=1).tolist()
        # float64 before rounding: a rounded float32 prints with its own noise.
        weights = {name: np.round(w.astype(np.float64), WEIGHT_DECIMALS) for name, w in scores.attention.items()}
        for position, row in enumerate(members):
            attention = {name: array[position, : len(row.text.ids)].tolist() for name, array in weights.items()}
            output = self._classify(probabilities[position], best[position])
            yield self._to_json(self._predict(row, output, attention, scored_ms))

    def _classify(self, probabilities: list[float], best: int) -> Classification:
        by_label = dict(zip(self._labels, (round(p, WEIGHT_DECIMALS) for p in probabilities), strict=True))
        label = self._labels[best]
        return Classification(label=label, score=by_label[label], probabilities=by_label)

    def _predict(
        self, row: _Row, output: Classification, attention: dict[str, list[float]], scored_ms: int
    ) -> Prediction:
        text: str = getattr(row.event, self._field)
        items = [text[start:end] for start, end in row.text.spans]
        position = row.record.position
        identifier = row.event.id  # type: ignore[attr-defined]
        return Prediction(
            id=str(position) if identifier is None else str(identifier),
            source=position,
            output=output,
            attention=[
                AttentionMap(
                    name=axes.name,
                    axes=axes.axes,
                    field=axes.field,
                    spans=row.text.spans,
                    weights=attention[axes.name],
                    truncated=row.text.truncated,
                    items=items,
                )
                for axes in self._axes
            ],
            model=self._model,
            event_timestamp_ms=row.record.timestamp_ms,
            scored_timestamp_ms=scored_ms,
            passthrough=row.event.passthrough,  # type: ignore[attr-defined]
        )
