"""The vocabulary: reserved ids first, then by count, then by token."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.data.vocabulary import build_vocabulary
from worker.bundle import decode_vocabulary, encode_vocabulary
from worker.features import PAD, PAD_ID, UNKNOWN, UNKNOWN_ID, tokenize

pytestmark = pytest.mark.fast


def test_order():
    assert build_vocabulary(["b a", "B c 到", "a 到 B"], size=100, min_count=1) == [PAD, UNKNOWN, "b", "a", "到", "c"]


def test_rare_tokens_and_the_tail_are_left_out():
    assert build_vocabulary(["a a b b c"], size=100, min_count=2) == [PAD, UNKNOWN, "a", "b"]
    assert build_vocabulary(["a a b b c"], size=3, min_count=1) == [PAD, UNKNOWN, "a"]


def test_no_texts_leave_the_reserved_ids():
    assert build_vocabulary([], size=100, min_count=1) == [PAD, UNKNOWN]


@given(texts=st.lists(st.text(), max_size=20), size=st.integers(2, 30), min_count=st.integers(1, 3))
def test_invariants(texts, size, min_count):
    vocabulary = build_vocabulary(texts, size=size, min_count=min_count)
    assert vocabulary == build_vocabulary(list(reversed(texts)), size=size, min_count=min_count)
    assert len(vocabulary) <= size
    assert len(set(vocabulary)) == len(vocabulary)
    assert (vocabulary[PAD_ID], vocabulary[UNKNOWN_ID]) == (PAD, UNKNOWN)
    assert set(vocabulary[2:]) <= {token for text in texts for token in tokenize(text)}
    assert decode_vocabulary(encode_vocabulary(vocabulary)) == vocabulary
