"""What users choose: when to abstain, how many weights and whose text to show, and what a record may cost."""

import time
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from assembled import build_answerer
from hypothesis import given
from hypothesis import strategies as st

from worker.answers.answering import Answer
from worker.answers.limits import Limits
from worker.answers.predictions import Detail, strongest
from worker.bundle import Bundle
from worker.errors import DecodeError, FeatureError, SettingsError
from worker.messages import Prediction
from worker.ports import Record
from worker.scorer import OnnxScorer

pytestmark = pytest.mark.fast

TEXT = "the box late"
Ask = Callable[..., list[Answer]]


@pytest.fixture(scope="module")
def ask(tiny_bundle: Bundle) -> Ask:
    def ask(*records: Record, **choices: Any) -> list[Answer]:
        return build_answerer(tiny_bundle, **choices).answer(records)

    return ask


def record(value: bytes = b'{"text": "the box late"}', *, key: bytes | None = None, headers: Any = ()) -> Record:
    return Record("events", 0, 0, 0, key, value, list(headers))


def prediction(answer: Answer) -> Prediction:
    assert isinstance(answer, bytes)
    return msgspec.json.decode(answer, type=Prediction)


def test_below_the_threshold_no_label_is_named(ask: Ask) -> None:
    [plain] = ask(record())
    best = prediction(plain).output
    assert (best.abstained, best.label is None) == (False, False)

    [unsure] = ask(record(), detail=Detail(abstain_below=best.score + 1e-3))
    [sure] = ask(record(), detail=Detail(abstain_below=best.score - 1e-3))

    output = prediction(unsure).output
    assert (output.label, output.abstained) == (None, True)
    assert (output.score, output.probabilities) == (best.score, best.probabilities)
    assert prediction(sure).output == best


def test_only_the_largest_weights_are_shown_in_the_order_of_the_text(ask: Ask) -> None:
    [whole] = prediction(ask(record())[0]).attention
    [cut] = prediction(ask(record(), detail=Detail(weights=2))[0]).attention

    kept = sorted(sorted(range(3), key=whole.weights.__getitem__)[1:])
    assert cut.spans == [whole.spans[place] for place in kept]
    assert cut.weights == [whole.weights[place] for place in kept]
    assert isinstance(whole.items, list)
    assert cut.items == [whole.items[place] for place in kept]
    assert prediction(ask(record(), detail=Detail(weights=3))[0]).attention == [whole]


@given(st.lists(st.floats(0, 1)), st.integers(1, 10))
def test_nothing_that_is_left_out_weighs_more_than_what_stays(weights: list[float], count: int) -> None:
    kept = strongest(weights, count)

    assert kept == sorted(set(kept))
    assert len(kept) == min(count, len(weights))
    left = [weight for place, weight in enumerate(weights) if place not in kept]
    assert max(left, default=0) <= min((weights[place] for place in kept), default=1)


def test_the_text_of_the_tokens_can_be_left_out(ask: Ask) -> None:
    [answer] = ask(record(), detail=Detail(token_text=False))

    [attention] = prediction(answer).attention
    assert attention.items is msgspec.UNSET
    assert [TEXT[start:end] for start, end in attention.spans] == ["the", "box", "late"]
    assert isinstance(answer, bytes)
    assert b"late" not in answer


@pytest.mark.parametrize(
    ("refused", "taken", "limits", "named"),
    [
        (
            record(key=b"xy"),
            record(key=b"x"),
            Limits(record_bytes=25),
            "26 bytes, more than LIMELIGHT_MAX_RECORD_BYTES",
        ),
        (
            record(headers=[("a", b"1"), ("a", None)]),
            record(headers=[("a", b"1")]),
            Limits(headers=1),
            "2 headers, more than LIMELIGHT_MAX_RECORD_HEADERS",
        ),
        (
            record(b'{"text": "box", "passthrough": [[[]]]}'),
            record(b'{"text": "box [[[[[", "passthrough": [[]], "x": "\\"[[["}'),
            Limits(nesting=3),
            "deeper than LIMELIGHT_MAX_NESTING=3",
        ),
    ],
)
def test_a_record_beyond_a_limit_is_refused_and_its_neighbour_answered(
    ask: Ask, refused: Record, taken: Record, limits: Limits, named: str
) -> None:
    answers = ask(refused, taken, limits=limits)

    assert isinstance(answers[0], DecodeError)
    assert named in str(answers[0])
    prediction(answers[1])


def test_a_text_of_too_many_tokens_is_refused(ask: Ask) -> None:
    answers = ask(record(), record(b'{"text": "the box late thanks"}'), limits=Limits(tokens=3))

    prediction(answers[0])
    assert isinstance(answers[1], FeatureError)
    assert "4 tokens, more than LIMELIGHT_MAX_TEXT_TOKENS=3" in str(answers[1])


@given(
    st.recursive(st.none() | st.text('[]{}"\\', max_size=4), lambda inner: st.lists(inner, max_size=3), max_leaves=20)
)
def test_depth_is_counted_as_a_reader_would(value: Any) -> None:
    def depth(item: Any) -> int:
        return 1 + max(map(depth, item), default=0) if isinstance(item, list) else 0

    found = record(msgspec.json.encode(value))
    Limits(nesting=depth(value)).check(found)
    if depth(value) > 1:
        with pytest.raises(DecodeError):
            Limits(nesting=depth(value) - 1).check(found)


def test_a_string_that_does_not_end_costs_no_more_than_its_length() -> None:
    hostile = record(b"[" * 101 + b'"' + b'\\"' * 20_000)
    begin = time.process_time()

    with pytest.raises(DecodeError, match="deeper"):
        Limits(nesting=100).check(hostile)

    # Milliseconds. Where each escaped quote is taken for a beginning, it is most of a minute.
    assert time.process_time() - begin < 2


def test_session_options_reach_onnx_runtime(tiny_bundle: Bundle) -> None:
    options = {
        "intra_op_num_threads": "2",
        "enable_mem_pattern": "false",
        "graph_optimization_level": "ORT_DISABLE_ALL",
        "session.intra_op.allow_spinning": "1",
    }
    used = OnnxScorer(tiny_bundle, session_options=options)._session.get_session_options()

    assert (used.intra_op_num_threads, used.enable_mem_pattern) == (2, False)
    assert used.graph_optimization_level.name == "ORT_DISABLE_ALL"
    assert used.get_session_config_entry("session.intra_op.allow_spinning") == "1"


@pytest.mark.parametrize(
    ("choice", "named"),
    [
        (
            {"provider": "TensorrtExecutionProvider"},
            "LIMELIGHT_EXECUTION_PROVIDER=TensorrtExecutionProvider is not there",
        ),
        ({"session_options": {"intra_op_threads": "2"}}, "names intra_op_threads, which is no option"),
        ({"session_options": {"intra_op_num_threads": "two"}}, "intra_op_num_threads cannot be 'two'"),
        ({"session_options": {"enable_mem_pattern": "2"}}, "enable_mem_pattern cannot be '2'"),
        ({"session_options": {"graph_optimization_level": "ALL"}}, "graph_optimization_level cannot be 'ALL'"),
    ],
)
def test_what_onnx_runtime_does_not_have_is_refused(tiny_bundle: Bundle, choice: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        OnnxScorer(tiny_bundle, **choice)
