"""The events of a bench: the same for everybody, of the lengths that are promised."""

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.bench.workload import MEDIAN_TOKENS, UNKNOWN_WORD, Workload, draw_lengths
from worker.features import tokenize

pytestmark = pytest.mark.fast

VOCABULARY = ["[PAD]", "[UNK]", "late", "broken", "慢", "don't", "two words"]


def make(records: int = 200, seed: int = 5, vocabulary: list[str] = VOCABULARY) -> Workload:
    return Workload(vocabulary, max_tokens=64, text_field="review", id_field="key", records=records, seed=seed)


def test_the_same_seed_gives_the_same_bytes_and_another_one_others() -> None:
    assert list(make().events()) == list(make().events())
    assert list(make().events()) != list(make(seed=6).events())


def test_texts_have_the_tokens_that_were_drawn_in_the_fields_that_were_named() -> None:
    workload = make()
    events = [json.loads(event) for event in workload.events()]
    assert [event["key"] for event in events] == [str(number) for number in range(200)]
    assert [len(tokenize(event["review"])) for event in events] == workload.lengths.tolist()
    words = {word for event in events for word in tokenize(event["review"])}
    assert words == {"late", "broken", "慢", "don't"}


def test_a_vocabulary_without_a_usable_word_still_gives_texts() -> None:
    assert set(" ".join(make(vocabulary=["[PAD]", "[UNK]"]).texts()).split()) == {UNKNOWN_WORD}


@given(seed=st.integers(0, 2**32), max_tokens=st.integers(1, 200))
def test_lengths_stay_within_what_the_model_reads(seed: int, max_tokens: int) -> None:
    lengths = draw_lengths(50, max_tokens=max_tokens, seed=seed)
    assert lengths.min() >= 1
    assert lengths.max() <= max_tokens


def test_lengths_have_a_long_tail() -> None:
    lengths = draw_lengths(50_000, max_tokens=10_000, seed=1)
    assert np.median(lengths) == pytest.approx(MEDIAN_TOKENS, rel=0.03)
    assert lengths.mean() == pytest.approx(29, rel=0.03)
    longest_of_32 = lengths[: 32 * 1500].reshape(-1, 32).max(axis=1)
    assert longest_of_32.mean() > 3 * lengths.mean()
    described = make(records=5_000).describe_lengths()
    assert described.longest == 64
    assert described.p50 <= described.p99 <= described.longest
