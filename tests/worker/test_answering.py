import gc
import weakref
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np
import pytest
from assembled import build_answerer
from hypothesis import given
from hypothesis import strategies as st

from worker.answers.answering import Answer, Answerer
from worker.answers.batching import Caps
from worker.answers.tuning import Tuner
from worker.bundle import Bundle
from worker.errors import DecodeError, FeatureError, RecordError, ScoringError, ValidationError
from worker.messages import Prediction
from worker.ports import Record

pytestmark = pytest.mark.fast

NOW_MS = 1_700_000_000_123


class FixedClock:
    def now_ms(self) -> int:
        return NOW_MS

    def monotonic_seconds(self) -> float:
        return 0.0


@pytest.fixture(scope="module")
def make_answerer(tiny_bundle: Bundle) -> Callable[[], Answerer]:
    return lambda: build_answerer(tiny_bundle, lanes=2, clock=FixedClock())


@pytest.fixture(scope="module")
def answer(make_answerer: Callable[[], Answerer]) -> Callable[[list[bytes | None]], list[Answer]]:
    answerer = make_answerer()
    return lambda values: answerer.answer(
        [Record("events", 3, offset, 1000 + offset, None, value, []) for offset, value in enumerate(values)]
    )


def predictions(answers: list[Answer]) -> list[Prediction]:
    return [msgspec.json.decode(a, type=Prediction) for a in answers if isinstance(a, bytes)]


def test_a_prediction_says_what_where_and_when(answer: Any, tiny_model: Any) -> None:
    [prediction] = predictions(answer([b'{"text":"The BOX, late","id":42,"passthrough":{"a": [1,2]},"more":1}']))

    probabilities, weights = tiny_model.answer([5, 6, 1, 2])
    best = int(probabilities.argmax())
    assert prediction.id == "42"
    assert (prediction.source.topic, prediction.source.partition, prediction.source.offset) == ("events", 3, 0)
    assert prediction.output.label == tiny_model.labels[best]
    assert prediction.output.score == pytest.approx(probabilities[best], abs=1e-6)
    assert list(prediction.output.probabilities) == tiny_model.labels
    [attention] = prediction.attention
    assert attention.items == ["The", "BOX", ",", "late"]
    assert attention.spans == [(0, 3), (4, 7), (7, 8), (9, 13)]
    np.testing.assert_allclose(attention.weights, weights, atol=1e-6)
    assert not attention.truncated
    assert (prediction.event_timestamp_ms, prediction.scored_timestamp_ms) == (1000, NOW_MS)
    assert bytes(prediction.passthrough) == b'{"a": [1,2]}'
    assert (prediction.model.name, prediction.model.round) == ("tiny", 3)


def test_the_id_defaults_to_the_position(answer: Any) -> None:
    assert [p.id for p in predictions(answer([b'{"text":"a"}', b'{"text":"a","id":null}']))] == [
        "events-3-0",
        "events-3-1",
    ]


def test_weights_have_six_decimals(answer: Any) -> None:
    [value] = answer([b'{"text":"the box thanks"}'])
    weights = msgspec.json.decode(value)["attention"][0]["weights"]

    assert all(len(str(weight)) <= 8 for weight in weights)


def test_a_long_text_is_cut_and_says_so(answer: Any, tiny_model: Any) -> None:
    text = " ".join(["box"] * (tiny_model.max_tokens + 1))
    [prediction] = predictions(answer([msgspec.json.encode({"text": text})]))

    assert prediction.attention[0].truncated
    assert len(prediction.attention[0].weights) == tiny_model.max_tokens


BAD = [
    (None, DecodeError, "no value"),
    (b"", DecodeError, "not JSON"),
    (b'{"text":"caf\xe9"}', DecodeError, "not UTF-8"),
    (b'{"text":"a","passthrough":"\xff"}', DecodeError, "not UTF-8"),
    (b'{"text":"a"', DecodeError, "not JSON"),
    (b'{"text":"\\ud800"}', DecodeError, "not JSON"),
    (b'{"x":' + b"[" * 10_000 + b"]" * 10_000 + b',"text":"a"}', DecodeError, "nests"),
    (b"[1]", ValidationError, "Expected `object`"),
    (b"{}", ValidationError, "missing required field `text`"),
    (b'{"text":7}', ValidationError, "Expected `str`, got `int`"),
    (b'{"text":null}', ValidationError, "got `null`"),
    (b'{"text":""}', ValidationError, "is empty"),
    (b'{"text":"a","id":[]}', ValidationError, "id"),
    (b'{"text":"a","passthrough":{"x":1e999}}', ValidationError, "passthrough cannot be read back"),
    (b'{"text":"a","passthrough":"\\ud800"}', DecodeError, "not JSON"),
    (b'{"text":"a","passthrough":' + b"[" * 3_000 + b"]" * 3_000 + b"}", DecodeError, "nests"),
    (b'{"text":" \\t\\n"}', FeatureError, "no visible character"),
]


@pytest.mark.parametrize(("value", "kind", "reason"), BAD)
def test_a_bad_record_is_refused_with_its_reason(answer: Any, value: bytes, kind: type, reason: str) -> None:
    [error] = answer([value])

    assert type(error) is kind
    assert reason in str(error)


def test_a_bad_record_does_not_touch_its_neighbours(answer: Any) -> None:
    good = b'{"text":"the box is late"}'
    alone = msgspec.json.decode(answer([good])[0])["output"]

    answers = answer([value for bad, _, _ in BAD for value in (good, bad)])

    assert [isinstance(a, RecordError) for a in answers] == [False, True] * len(BAD)
    assert all(msgspec.json.decode(a)["output"] == alone for a in answers[::2])


texts = st.lists(st.sampled_from(["late", "box", "慢", "thanks", "?", "unheard"]), min_size=1, max_size=20)


@given(st.lists(texts, max_size=15))
def test_answers_come_in_input_order_whatever_the_lengths(answer: Any, batch: list[list[str]]) -> None:
    values = [msgspec.json.encode({"text": " ".join(words)}) for words in batch]
    together = predictions(answer(values))

    assert [p.source.offset for p in together] == list(range(len(values)))
    for value, prediction in zip(values, together, strict=True):
        [alone] = predictions(answer([value]))
        assert prediction.output.label == alone.output.label
        np.testing.assert_allclose(prediction.attention[0].weights, alone.attention[0].weights, atol=2e-6)


@given(st.lists(texts, min_size=1, max_size=15), st.builds(Caps, st.integers(1, 9), st.integers(1, 60)))
def test_buckets_change_no_answer(make_answerer: Callable[[], Answerer], batch: list[list[str]], caps: Caps) -> None:
    records = [
        Record("events", 3, offset, 0, None, msgspec.json.encode({"text": " ".join(words)}), [])
        for offset, words in enumerate(batch)
    ]
    one_by_one, in_buckets = make_answerer(), make_answerer()
    one_by_one._tuner, in_buckets._tuner = Tuner(Caps(1, 1)), Tuner(caps)
    answers = [predictions(answerer.answer(records)) for answerer in (one_by_one, in_buckets)]

    for alone, together in zip(*answers, strict=True):
        for name, probability in alone.output.probabilities.items():
            assert together.output.probabilities[name] == pytest.approx(probability, abs=1.5e-6)
        np.testing.assert_allclose(together.attention[0].weights, alone.attention[0].weights, atol=1.5e-6)
        assert (together.source, together.attention[0].items) == (alone.source, alone.attention[0].items)


@given(st.binary(max_size=200))
def test_any_bytes_get_exactly_one_answer(answer: Any, value: bytes) -> None:
    assert len(answer([value])) == 1


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["text", "id", "passthrough", "x"]), json_values))
def test_any_object_is_answered_or_refused_and_the_answer_is_json(answer: Any, event: dict[str, object]) -> None:
    [result] = answer([msgspec.json.encode(event)])

    if isinstance(result, bytes):
        assert msgspec.json.decode(result)["source"]["offset"] == 0
    else:
        assert isinstance(result, RecordError)


class Failing:
    def score(self, token_ids: np.ndarray) -> Any:
        raise ScoringError("the model failed")


@pytest.mark.parametrize("fails", [False, True])
def test_refusals_hold_nothing_but_their_reason(make_answerer: Callable[[], Answerer], fails: bool) -> None:
    """Whatever waits for the garbage collector is memory that a swapped model or a slice goes on to take."""
    answerer = make_answerer()
    if fails:
        answerer._scorer = Failing()
    values = [b'{"text":"the box"}', b"caf\xe9", b"{", None, b'{"text":1}', b'{"text":""}', b'{"text":" "}']
    gc.collect()
    gc.disable()
    try:
        answers = answerer.answer([Record("events", 0, n, 0, None, value, []) for n, value in enumerate(values)])
        alive = weakref.ref(answerer)
        del answerer
        assert alive() is None
    finally:
        gc.enable()
    assert sum(isinstance(each, RecordError) for each in answers) == len(values) - (not fails)
