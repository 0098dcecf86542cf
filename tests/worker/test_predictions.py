"""The fast writer against its slow twin: the objects of the wire contract, encoded by msgspec."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, Raw

from worker.answers.json_columns import LARGEST
from worker.answers.predictions import Detail, PredictionWriter, strongest, write_tokens
from worker.answers.reading import Event
from worker.answers.texts import LONGEST_CHARACTERS, TextsEncoder
from worker.bundle import AttentionAxes, Bundle, Manifest
from worker.features import EncodedText, TextEncoder
from worker.messages import AttentionMap, Classification, ModelRef, Prediction
from worker.ports import Record, Scores

pytestmark = pytest.mark.fast

VOCABULARY = ["[PAD]", "[UNK]", "box", "慢"]
MAX_TOKENS = 4
SCORED_MS = 1_700_000_000_123

texts = st.text(min_size=1, max_size=12).filter(lambda text: bool(text.split())) | st.lists(
    st.sampled_from(["box", "Late,", "慢", '"', "\\", "\x01", "%", "x" * 60]), min_size=1, max_size=9
).map(" ".join)
passthroughs = st.just(UNSET) | st.builds(lambda value: Raw(msgspec.json.encode(value)), st.text() | st.none())
ids = st.none() | st.integers(-(2**63), 2**63) | st.text(st.characters(exclude_categories=["Cs"]))
details = st.builds(Detail, st.floats(0, 1), st.none() | st.integers(1, 6), st.booleans())


@st.composite
def slices(draw: st.DrawFn) -> list[Event]:
    events = []
    for place in range(draw(st.integers(1, 5))):
        position = (draw(st.sampled_from(["events", 'od"d\n'])), draw(st.integers(0, 9)), draw(st.integers(0, 2**62)))
        record = Record(*position, draw(st.integers(-1, 2**42)), None, b"", [])
        events.append(Event(place, record, draw(texts), draw(ids), draw(passthroughs)))
    return events


@pytest.fixture(scope="module")
def manifest(tiny_bundle: Bundle) -> Manifest:
    """Names that need escapes, and two attentions on one text."""
    axes = [AttentionAxes("to%kens", "attention", "text", ["token"]), AttentionAxes("second", "other", "text", ["t"])]
    return msgspec.structs.replace(tiny_bundle.manifest, labels=["b\0d", "100%", "好"], attention=axes, name="t%b\1")


def write_slowly(manifest: Manifest, detail: Detail, event: Event, text: EncodedText, scores: Scores) -> bytes:
    """One Prediction, as the wire contract names its parts."""
    probabilities = [round(p, 6) for p in scores.probabilities[0].tolist()]
    best = int(scores.probabilities[0].argmax())
    abstained = scores.probabilities[0, best] < detail.abstain_below
    attention = []
    for axes in manifest.attention:
        weights = np.round(scores.attention[axes.name][0, : len(text.ids)].astype(np.float64), 6).tolist()
        kept = strongest(weights, detail.weights or len(weights))
        spans = [text.spans[place] for place in kept]
        items = [event.text[start:end] for start, end in spans] if detail.token_text else UNSET
        shown = [weights[place] for place in kept]
        attention.append(AttentionMap(axes.name, axes.axes, axes.field, spans, shown, text.truncated, items))
    prediction = Prediction(
        id=str(event.record.position) if event.id is None else str(event.id),
        source=event.record.position,
        output=Classification(
            None if abstained else manifest.labels[best],
            probabilities[best],
            dict(zip(manifest.labels, probabilities, strict=True)),
            bool(abstained),
        ),
        attention=attention,
        model=ModelRef(manifest.name, manifest.version, manifest.training.rounds, generation=3),
        event_timestamp_ms=event.record.timestamp_ms,
        scored_timestamp_ms=SCORED_MS,
        passthrough=event.passthrough,
    )
    return msgspec.json.encode(prediction)


def test_places_of_texts_that_are_written_together_have_few_enough_digits() -> None:
    assert LONGEST_CHARACTERS <= LARGEST


@given(events=slices(), detail=details, seed=st.integers(0, 99), scale=st.sampled_from([1.0, 9.49, 30.0, -1.0]))
def test_answers_are_those_of_the_slow_twin(
    manifest: Manifest, events: list[Event], detail: Detail, seed: int, scale: float
) -> None:
    encoded = TextsEncoder(VOCABULARY, max_tokens=MAX_TOKENS, refused_tokens=99).encode([e.text for e in events])
    rows = np.flatnonzero(encoded.lengths).tolist()[::-1]
    if not rows:
        return
    chance = np.random.default_rng(seed)
    shape = encoded.pad(rows).shape
    weights = {axes.name: (chance.random(shape) * scale).astype(np.float32) for axes in manifest.attention}
    scores = Scores(chance.dirichlet(np.ones(3), len(rows)).astype(np.float32), weights)

    writer = PredictionWriter(manifest, detail=detail).under(3)
    answers = writer.write(events, encoded, write_tokens(encoded, events), rows, scores, scored_ms=SCORED_MS)

    encoder = TextEncoder(VOCABULARY, max_tokens=MAX_TOKENS)
    for index, (row, answer) in enumerate(zip(rows, answers, strict=True)):
        event = events[row]
        expected = write_slowly(manifest, detail, event, encoder.encode(event.text), scores.only(index))
        # The same but for how numbers are spelt: 0.500000 for 0.5.
        assert msgspec.json.encode(msgspec.json.decode(answer)) == msgspec.json.encode(msgspec.json.decode(expected))
        assert msgspec.json.encode(msgspec.json.decode(answer, type=Prediction)) == expected
