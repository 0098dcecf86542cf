"""What a bench asks of answers before it believes a rate."""

from collections.abc import Callable

import msgspec
import pytest

from worker.bench.answers import SAMPLE_EVERY, Answers
from worker.bench.errors import BenchError
from worker.messages import AttentionMap, Classification, ModelRef, Position, Prediction
from worker.ports import Record

pytestmark = pytest.mark.fast

Change = Callable[[Prediction], object]


def answer(offset: int, *, at_ms: int = 0, change: Change = lambda _: None) -> Record:
    prediction = Prediction(
        id=str(offset),
        source=Position("events", 0, offset),
        output=Classification(label="a", score=0.75, probabilities={"a": 0.75, "b": 0.25}),
        attention=[AttentionMap("tokens", ["token"], "text", [(0, 2), (3, 5)], [0.6, 0.4], False, ["up", "on"])],
        model=ModelRef("tiny", "0123", 1),
        event_timestamp_ms=5,
        scored_timestamp_ms=6 + offset,
    )
    change(prediction)
    return Record("answers", 0, offset * 2, at_ms, None, msgspec.json.encode(prediction), [])


def test_a_rate_leaves_out_the_beginning_and_the_tail() -> None:
    # 20 of 100 come in the first second, 70 in the next two, and the rest takes ten.
    times = (
        [10 * n for n in range(20)] + [1000 + n * 2000 // 70 for n in range(71)] + [3000 + 1100 * n for n in range(9)]
    )
    records = [answer(offset, at_ms=at) for offset, at in enumerate(times)]
    assert Answers.read(records, expected=100).rate == pytest.approx(70 / 2, rel=0.02)


def test_the_order_in_which_partitions_are_read_is_no_time() -> None:
    records = [answer(offset, at_ms=at) for offset, at in enumerate([*range(0, 500, 10), *range(5, 505, 10)])]
    assert Answers.read(records, expected=100).rate == pytest.approx(200, rel=0.02)


def test_answers_of_one_batch_do_not_divide_by_nothing() -> None:
    assert Answers.read([answer(offset) for offset in range(10)], expected=10).rate == 7 / 0.001


@pytest.mark.parametrize("offsets", [[0, 1], [0, 1, 1], [0, 1, 2, 2]])
def test_anything_but_one_answer_each_is_an_error(offsets: list[int]) -> None:
    with pytest.raises(BenchError, match=f"3 events got {len(offsets)} answers, {len(set(offsets))} of them"):
        Answers.read([answer(offset) for offset in offsets], expected=3)


def swap_label(prediction: Prediction) -> None:
    prediction.output.probabilities = {"a": 0.25, "b": 0.75}


def look_elsewhere(prediction: Prediction) -> None:
    prediction.attention[0].weights = [0.4, 0.6]


def move_span(prediction: Prediction) -> None:
    prediction.attention[0].spans = [(0, 2), (4, 5)]


def drop_weights(prediction: Prediction) -> None:
    prediction.attention[0].weights = [0.6]


def rename(prediction: Prediction) -> None:
    prediction.id = "else"


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        (swap_label, "probabilities"),
        (look_elsewhere, "weights"),
        (move_span, "spans"),
        (drop_weights, "weights"),
        (rename, "id"),
    ],
)
def test_who_does_other_work_is_found_out(change: Change, difference: str) -> None:
    reference = Answers.read([answer(SAMPLE_EVERY)], expected=1).sample
    other = Answers.read([answer(SAMPLE_EVERY, change=change)], expected=1)
    with pytest.raises(BenchError, match=rf"the peer does other work.*events-0-{SAMPLE_EVERY}.*{difference}"):
        other.require_same(reference, name="the peer")


def test_last_bits_and_times_may_differ() -> None:
    def differ(prediction: Prediction) -> None:
        prediction.attention[0].weights = [0.600001, 0.399999]
        prediction.scored_timestamp_ms += 1000

    reference = Answers.read([answer(SAMPLE_EVERY)], expected=1).sample
    Answers.read([answer(SAMPLE_EVERY, change=differ)], expected=1).require_same(reference, name="the peer")


def test_an_answer_that_is_missing_from_the_sample_is_found_out() -> None:
    reference = Answers.read([answer(0)], expected=1).sample
    with pytest.raises(BenchError, match="differs in that there is none"):
        Answers.read([answer(SAMPLE_EVERY)], expected=1).require_same(reference, name="the peer")
