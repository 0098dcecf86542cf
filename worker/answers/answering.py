"""decode -> features -> micro-batches -> score -> encode: from records to answers, on a stream and on files alike.

What fails is told apart by its stage. A micro-batch that the model cannot score is halved until the guilty record is
alone, so that its neighbours get their answers. Before that record is blamed, the model has to prove itself on records
that it must be able to answer: if it fails there, the model is guilty, and no record.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from copy import copy
from enum import Enum
from functools import partial
from typing import NamedTuple, Protocol, Self, TypeVar

import structlog

from worker.answers.batching import bisect, plan_batches
from worker.answers.lanes import Lanes
from worker.answers.limits import Limits
from worker.answers.predictions import Detail, PredictionWriter, TokenLists, write_tokens
from worker.answers.reading import Event, EventReader
from worker.answers.texts import Texts, TextsEncoder
from worker.answers.tuning import Trial, Tuner
from worker.bundle import Manifest
from worker.errors import (
    BundleError,
    DecodeError,
    EncodeError,
    FeatureError,
    RecordError,
    ScoringError,
    UnscorableError,
)
from worker.messages import ModelRef
from worker.ports import Clock, Record, Scorer, Scores


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


class _Readable(NamedTuple):
    """The records of a slice that the model can be asked about, and what answers repeat of them."""

    events: Sequence[Event]
    texts: Texts
    tokens: TokenLists


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
        tuner: Tuner,
        lanes: int = 1,
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
            tuner: says how large a micro-batch may be.
            lanes: how many micro-batches are under way at once.
            limits: records beyond them are refused.
            detail: what an answer tells.
            clock: for the scored time.
            timer: measures the stages.
        """
        field = manifest.fields[0]
        self._reader = EventReader(field=field.name, record_field=record_field, id_field=id_field, limits=limits)
        self._encoder = TextsEncoder(vocabulary, max_tokens=field.max_tokens, refused_tokens=limits.tokens)
        self._writer = PredictionWriter(manifest, detail=detail)
        self._scorer = scorer
        self._prove = prove
        self._skip_tombstones = skip_tombstones
        self._tuner = tuner
        self._lanes = Lanes(lanes)
        self._clock = clock
        self._timer = timer

    @property
    def model(self) -> ModelRef:
        """What the predictions name."""
        return self._writer.model

    def under(self, generation: int) -> Self:
        """The same, with predictions that name this generation of the deployment."""
        same = copy(self)
        same._writer = self._writer.under(generation)
        return same

    def answer(self, records: Sequence[Record]) -> list[Answer]:
        """Answers every record.

        Raises:
            ScoringError: the model failed; no record is to blame.
        """
        answers: list[Answer | None] = [None] * len(records)
        events: list[Event] = []
        with self._timer("decode"):
            for place, record in enumerate(records):
                read = self._read(place, record)
                if isinstance(read, Event):
                    events.append(read)
                else:
                    answers[place] = read
        for event, answer in self._answer_events(events):
            answers[event.place] = answer
        complete = [answer for answer in answers if answer is not None]
        assert len(complete) == len(records), "every record has an answer"
        return complete

    def _read(self, place: int, record: Record) -> Event | RecordError | Skipped:
        if record.value is None and self._skip_tombstones:
            return Skipped.TOMBSTONE
        try:
            return self._reader.read(place, record)
        except RecordError as error:
            return _without_frames(error)
        except Exception as error:  # noqa: BLE001 - told, and answered
            return _unexpected(DecodeError, record, error)

    def _answer_events(self, events: Sequence[Event]) -> Iterator[tuple[Event, Answer]]:
        """Answers events together, or one by one where that meets a fault of ours."""
        try:
            with self._timer("features"):
                texts = self._encoder.encode([event.text for event in events])
            with self._timer("encode"):
                readable = _Readable(events, texts, write_tokens(texts, events))
        except Exception as error:  # noqa: BLE001 - told, and answered
            if len(events) == 1:
                yield events[0], _unexpected(FeatureError, events[0].record, error)
            else:
                for event in events:
                    yield from self._answer_events([event])
            return
        for row, refusal in texts.refused.items():
            yield events[row], _without_frames(refusal)
        trial = self._tuner.begin(texts.lengths)
        batches = list(plan_batches(texts.lengths, trial.caps))
        for answers in self._lanes.run(partial(self._answer_batch, readable, trial), batches):
            yield from answers
        self._tuner.end(trial)

    def _answer_batch(self, readable: _Readable, trial: Trial, batch: Sequence[int]) -> list[tuple[Event, Answer]]:
        answered: list[tuple[Event, Answer]] = []
        for rows, scores in self._score(readable.texts, batch, trial):
            with self._timer("encode"), trial.measured():
                answers = self._write(readable, rows, scores)
            answered += zip([readable.events[row] for row in rows], answers, strict=True)
        return answered

    def _score(
        self, texts: Texts, batch: Sequence[int], trial: Trial
    ) -> Iterator[tuple[Sequence[int], Scores | UnscorableError]]:
        """Scores the texts of `batch`, in parts if it has to.

        Raises:
            ScoringError: the model is guilty.
        """
        proved = False
        for rows, scores in bisect(batch, partial(self._score_rows, texts, trial)):
            if isinstance(scores, ScoringError):
                if not proved:
                    self._prove_model(scores)
                    proved = True
                yield rows, UnscorableError(f"{scores} The model answers its golden records.")
            else:
                yield rows, scores

    def _score_rows(self, texts: Texts, trial: Trial, rows: Sequence[int]) -> Scores | ScoringError:
        with self._timer("score"), trial.measured():
            try:
                return self._scorer.score(texts.pad(rows))
            except ScoringError as error:
                return _without_frames(error)

    def _prove_model(self, failure: ScoringError) -> None:
        try:
            self._prove()
        except (ScoringError, BundleError) as error:
            raise ScoringError(f"{failure} It fails on its golden records, too: {error}") from error

    def _write(self, readable: _Readable, rows: Sequence[int], scores: Scores | UnscorableError) -> Sequence[Answer]:
        if isinstance(scores, UnscorableError):
            return [scores] * len(rows)
        try:
            return self._writer.write(*readable, rows, scores, scored_ms=self._clock.now_ms())
        except Exception as error:  # noqa: BLE001 - told, and answered
            if len(rows) == 1:
                return [_unexpected(EncodeError, readable.events[rows[0]].record, error)]
            # Each alone: the neighbours of the one that we cannot write get their answers.
            return [
                answer for index, row in enumerate(rows) for answer in self._write(readable, [row], scores.only(index))
            ]


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
