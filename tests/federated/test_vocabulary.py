"""The vocabulary: reserved ids first, then by count, then by token."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data.vocabulary import RESERVED, rank_tokens
from worker.features import PAD, PAD_ID, UNKNOWN, UNKNOWN_ID

pytestmark = pytest.mark.fast


def rank(tokens, counts, **limits):
    return [tokens[index] for index in rank_tokens(tokens, np.array(counts), **limits)]


def test_order():
    assert rank(["到", "c", "b", "a"], [2, 1, 3, 2], size=100, min_count=1) == ["b", "a", "到", "c"]


def test_rare_tokens_and_the_tail_are_left_out():
    assert rank(["a", "b", "c"], [2, 2, 1], size=100, min_count=2) == ["a", "b"]
    assert rank(["a", "b", "c"], [2, 2, 1], size=3, min_count=1) == ["a"]


def test_nothing_is_known_of_nothing():
    assert rank([], [], size=100, min_count=1) == []


def test_the_reserved_ids_are_those_of_the_worker():
    assert (RESERVED[PAD_ID], RESERVED[UNKNOWN_ID]) == (PAD, UNKNOWN)


@given(words=st.lists(st.text(max_size=2), max_size=40), size=st.integers(2, 30), min_count=st.integers(1, 3))
def test_invariants(words, size, min_count):
    tokens, counts = zip(*Counter(words).items(), strict=True) if words else ((), ())
    chosen = rank(tokens, counts, size=size, min_count=min_count)
    backwards = rank(tokens[::-1], counts[::-1], size=size, min_count=min_count)
    assert chosen == backwards, "the order of the tokens decides nothing"
    assert len(chosen) == min(size - len(RESERVED), sum(count >= min_count for count in counts))
    frequency = [words.count(token) for token in chosen]
    assert frequency == sorted(frequency, reverse=True)
