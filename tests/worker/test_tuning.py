import msgspec
import numpy as np
import pytest
from assembled import build_answerer
from hypothesis import given
from hypothesis import strategies as st

from worker.answers.answering import Answer, Answerer
from worker.answers.batching import Caps, caps_among
from worker.answers.tuning import CANDIDATES, DEFAULT, MARGIN, ROUNDS, SLICE_ROWS, Tuner
from worker.bundle import Bundle
from worker.messages import Prediction
from worker.ports import Record

pytestmark = pytest.mark.fast

FULL = np.full(SLICE_ROWS, 5, np.int64)


def tune(costs: dict[Caps, float], *, known: Caps | None = None) -> tuple[Tuner, list[Caps]]:
    """Feeds a tuner slices until it has settled; `costs` in seconds a token."""
    found: list[Caps] = []
    tuner = Tuner(known, found=found.append)
    for _ in range(ROUNDS * len(CANDIDATES)):
        trial = tuner.begin(FULL)
        trial.seconds = costs[trial.caps] * trial.tokens
        tuner.end(trial)
    return tuner, found


@given(st.lists(st.floats(1e-7, 1e-4), min_size=len(CANDIDATES), max_size=len(CANDIDATES)))
def test_the_cheapest_is_taken_if_it_is_clearly_cheaper_than_the_default(seconds: list[float]) -> None:
    costs = dict(zip(CANDIDATES, seconds, strict=True))
    tuner, [found] = tune(costs)

    assert tuner.begin(FULL).caps == found
    if found == DEFAULT:
        assert min(seconds) >= costs[DEFAULT] * (1 - MARGIN)
    else:
        assert costs[found] == min(seconds)
        assert costs[found] < costs[DEFAULT] * (1 - MARGIN)


def test_two_disturbed_trials_of_each_do_not_matter() -> None:
    found: list[Caps] = []
    tuner = Tuner(found=found.append)
    for number in range(ROUNDS * len(CANDIDATES)):
        trial = tuner.begin(FULL)
        is_disturbed = number < 2 * len(CANDIDATES)
        trial.seconds = (1.0 if trial.caps == CANDIDATES[0] else 2.0) * (50 if is_disturbed and number % 5 == 0 else 1)
        tuner.end(trial)

    assert found == [CANDIDATES[0]]


def test_looking_ends_and_tries_every_candidate_equally_often() -> None:
    tuner = Tuner()
    tried = []
    while (trial := tuner.begin(FULL)).tokens:
        tried.append(trial.caps)
        trial.seconds = 1.0
        tuner.end(trial)

    assert {caps: tried.count(caps) for caps in CANDIDATES} == dict.fromkeys(CANDIDATES, ROUNDS)


def test_small_slices_and_refused_rows_do_not_count() -> None:
    tuner = Tuner(found=lambda _: pytest.fail("settled"))
    for lengths in (FULL[:-1], np.append(FULL[:-1], 0)):
        for _ in range(100):
            trial = tuner.begin(lengths)
            assert (trial.caps, trial.tokens) == (caps_among(SLICE_ROWS - 1, DEFAULT, found_among=SLICE_ROWS), 0)
            tuner.end(trial)


def test_small_slices_are_cut_into_small_batches_whatever_was_found() -> None:
    found = Caps(20, 800)
    small = np.full(SLICE_ROWS // 4, 5, np.int64)

    assert Tuner(found).begin(small).caps == Caps(10, 400)
    assert Tuner(found).begin(FULL).caps == found
    assert Tuner(found).begin(np.zeros(3, np.int64)).caps == Caps(1, 1)


def test_what_is_known_is_not_measured() -> None:
    known = Caps(3, 100)
    tuner = Tuner(known, found=lambda _: pytest.fail("looked for"))

    trial = tuner.begin(FULL)
    tuner.end(trial)

    assert (trial.caps, trial.tokens) == (known, 0)


def test_a_trial_sums_up_what_its_batches_took() -> None:
    trial = Tuner().begin(FULL)
    for _ in range(2):
        with trial.measured():
            pass

    first = trial.seconds
    assert first > 0
    with trial.measured():
        pass
    assert trial.seconds > first


def test_a_stream_settles_the_size_and_answers_the_same_meanwhile(tiny_bundle: Bundle) -> None:
    found: list[Caps] = []

    def build(tuner: Tuner) -> Answerer:
        return build_answerer(tiny_bundle, tuner=tuner, lanes=2)

    records = [
        Record("events", 0, offset, 0, None, b'{"text":"%s"}' % (b"box late " * (1 + offset % 5)), [])
        for offset in range(SLICE_ROWS)
    ]
    expected = [label_of(answer) for answer in build(Tuner(DEFAULT)).answer(records)]
    looking = build(Tuner(found=found.append))
    for _ in range(ROUNDS * len(CANDIDATES)):
        assert not found
        assert [label_of(answer) for answer in looking.answer(records)] == expected

    assert len(found) == 1
    assert found[0] in CANDIDATES


def label_of(answer: Answer) -> tuple[str | None, int]:
    assert isinstance(answer, bytes)
    prediction = msgspec.json.decode(answer, type=Prediction)
    return prediction.output.label, prediction.source.offset
