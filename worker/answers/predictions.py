"""Writes the model's answers as JSON Predictions, a micro-batch at a time.

What is the same for all of a bundle's answers is written once (`worker.answers.prediction_form`), what many tokens have
in common is written for all of them at once (`worker.answers.json_columns`); the rest of a record is one formatting.
"""

import heapq
from collections.abc import Iterable, Iterator, Sequence
from copy import copy
from functools import partial
from typing import Any, NamedTuple, Self

import msgspec
import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from worker.answers.json_columns import WEIGHT_BYTES, WEIGHT_LIMIT, quote_tokens, write_spans, write_weights
from worker.answers.prediction_form import draw_form
from worker.answers.reading import Event
from worker.answers.texts import Texts
from worker.bundle import Manifest
from worker.messages import WEIGHT_DECIMALS, ModelRef
from worker.ports import Scores

_encode = msgspec.json.Encoder().encode
_TRUTHS = {False: b"false", True: b"true"}


class Detail(NamedTuple):
    """What an answer tells."""

    abstain_below: float = 0.0
    """Probability of the best label under which it is not named."""
    weights: int | None = None
    """How many of the largest weights are shown; None for all."""
    token_text: bool = True
    """Whether the text of the tokens is repeated."""


class TokenLists(NamedTuple):
    """Spans and tokens of `N` texts in JSON, for each text the inside of a list."""

    spans: Sequence[bytes]
    items: Sequence[bytes]
    """Without the first and the last quote."""


def write_tokens(texts: Texts, events: Sequence[Event]) -> TokenLists:
    """Writes the spans and the tokens of every text that can be read.

    Args:
        texts: `N` texts.
        events: theirs.
    """
    spans, items = [b""] * len(events), [b""] * len(events)
    is_read, are_together = texts.lengths > 0, len(texts.starts)
    rows = np.flatnonzero(is_read & (texts.begins < are_together))
    firsts, places = texts.begins[rows], texts.spans[:are_together]
    for row, own_spans, own_items in zip(
        rows.tolist(),
        write_spans(places, firsts, firsts + texts.lengths[rows]),
        quote_tokens(texts.characters, texts.starts, places[:, 1] - places[:, 0], firsts),
        strict=True,
    ):
        spans[row], items[row] = own_spans, own_items
    for row in np.flatnonzero(is_read & ~texts.plain).tolist():
        begin, text = texts.begins[row], events[row].text
        places = texts.spans[begin : begin + texts.lengths[row]].tolist()
        spans[row], items[row] = _inside(places), _inside([text[start:end] for start, end in places])[1:-1]
    return TokenLists(spans, items)


class PredictionWriter:
    """Writes the answers of one model."""

    def __init__(self, manifest: Manifest, *, detail: Detail) -> None:
        """
        Args:
            manifest: of the bundle that answers.
            detail: what an answer tells.
        """
        self._manifest = manifest
        self._detail = detail
        self._labels = [_encode(label) for label in manifest.labels]
        self.model = ModelRef(manifest.name, manifest.version, manifest.training.rounds)
        """What the predictions name."""
        self._draw_forms()

    def under(self, generation: int) -> Self:
        """The same, with predictions that name this generation of the deployment."""
        same = copy(self)
        same.model = msgspec.structs.replace(self.model, generation=generation)
        same._draw_forms()
        return same

    def _draw_forms(self) -> None:
        draw = partial(
            draw_form,
            self.model,
            self._manifest.labels,
            self._manifest.attention,
            with_items=self._detail.token_text,
        )
        self._form, self._form_with_passthrough = draw(with_passthrough=False), draw(with_passthrough=True)

    def write(
        self,
        events: Sequence[Event],
        texts: Texts,
        tokens: TokenLists,
        rows: Sequence[int],
        scores: Scores,
        *,
        scored_ms: int,
    ) -> list[bytes]:
        """
        Args:
            events: of the slice.
            texts: theirs.
            tokens: theirs, see `write_tokens`.
            rows: which of them are answered here.
            scores: the model's answer to these.
            scored_ms: when it was given.
        """
        members = [events[row] for row in rows]
        records = [event.record for event in members]
        columns = [
            [_encode(str(each.record.position) if each.id is None else str(each.id)) for each in members],
            [_encode(record.topic) for record in records],
            [record.partition for record in records],
            [record.offset for record in records],
            *self._classify(scores.probabilities),
            *(
                column
                for axes in self._manifest.attention
                for column in self._show(members, texts, tokens, rows, scores.attention[axes.name])
            ),
            [record.timestamp_ms for record in records],
            [scored_ms] * len(rows),
        ]
        return [
            self._form % values
            if event.passthrough is UNSET
            else self._form_with_passthrough % (*values, event.passthrough)
            for values, event in zip(zip(*columns, strict=True), members, strict=True)
        ]

    def _classify(self, probabilities: NDArray[np.float32]) -> Iterator[Sequence[Any]]:
        """Columns of labels, scores, each label's probability, and whether the model abstained."""
        best = probabilities.argmax(axis=1)
        # The model's own number decides, not the rounded one that is shown.
        scores = probabilities.max(axis=1).tolist()
        abstained = [score < self._detail.abstain_below for score in scores]
        yield [b"null" if unsure else self._labels[b] for b, unsure in zip(best.tolist(), abstained, strict=True)]
        yield scores
        yield from probabilities.T.tolist()
        yield [_TRUTHS[unsure] for unsure in abstained]

    def _show(
        self,
        members: Sequence[Event],
        texts: Texts,
        tokens: TokenLists,
        rows: Sequence[int],
        weights: NDArray[np.float32],
    ) -> list[list[bytes]]:
        """Columns of spans, weights, truncated and, if they are shown, items."""
        lengths = texts.lengths[rows].tolist()
        spans, items = [tokens.spans[row] for row in rows], [tokens.items[row] for row in rows]
        written = _write_rows(weights, lengths)
        truncated = [_TRUTHS[cut] for cut in texts.truncated[rows].tolist()]
        if (most := self._detail.weights) is not None:
            for index, (event, row) in enumerate(zip(members, rows, strict=True)):
                if lengths[index] > most:
                    own = np.round(weights[index, : lengths[index]].astype(np.float64), WEIGHT_DECIMALS)
                    kept = strongest(own.tolist(), most)
                    places = texts.spans[texts.begins[row] + kept].tolist()
                    spans[index], items[index] = _inside(places), _inside([event.text[a:b] for a, b in places])[1:-1]
                    written[index] = _write_weights_alone(own[kept])
        return [spans, written, truncated, items] if self._detail.token_text else [spans, written, truncated]


def strongest(weights: Sequence[float], count: int) -> list[int]:
    """Places of the `count` largest weights, in the order of the text; among equals the first."""
    return sorted(heapq.nlargest(count, range(len(weights)), key=weights.__getitem__))


def _write_rows(weights: NDArray[np.float32], lengths: Sequence[int]) -> list[bytes]:
    """The inside of each row's list of weights, without those of the padding."""
    if weights.min() < 0 or weights.max() >= WEIGHT_LIMIT:
        return [_write_weights_alone(row[:length]) for row, length in zip(weights, lengths, strict=True)]
    text, step = write_weights(weights), weights.shape[1] * WEIGHT_BYTES
    return [text[row * step : row * step + length * WEIGHT_BYTES - 1] for row, length in enumerate(lengths)]


def _write_weights_alone(weights: Iterable[float]) -> bytes:
    return b",".join([b"%.*f" % (WEIGHT_DECIMALS, weight) for weight in weights])


def _inside(values: Sequence[object]) -> bytes:
    return _encode(values)[1:-1]
