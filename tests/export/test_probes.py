"""The probes must be able to show a graph that reads padding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from export.probes import BATCH_ROWS, build_probes

pytestmark = pytest.mark.fast

texts = st.lists(st.lists(st.integers(1, 30), min_size=1, max_size=64), min_size=1, max_size=80)


@given(texts=texts, max_tokens=st.integers(1, 64), vocabulary_size=st.integers(2, 5000))
def test_probes_cover_the_lengths_and_hold_no_padding(texts, max_tokens, vocabulary_size):
    probes = build_probes(texts, vocabulary_size=vocabulary_size, max_tokens=max_tokens)
    rows = [row for batch in probes for row in batch]
    lengths = {len(row) for row in rows}
    assert {1, max_tokens} <= lengths
    assert all(0 < token < max(vocabulary_size, 31) for row in rows for token in row)
    assert all(1 <= len(batch) <= BATCH_ROWS for batch in probes)
    assert all(any(row == text for text in texts) for row in probes[-1])


@given(max_tokens=st.integers(2, 64))
def test_every_random_batch_mixes_lengths(max_tokens):
    *mixed, _ = build_probes([[1] * max_tokens], vocabulary_size=50, max_tokens=max_tokens)[:-1]
    assert all(min(map(len, batch)) < max(map(len, batch)) for batch in mixed)


def test_same_model_same_probes():
    assert build_probes([[1, 2]], vocabulary_size=50, max_tokens=9) == build_probes(
        [[1, 2]], vocabulary_size=50, max_tokens=9
    )


def test_real_texts_from_the_shortest_to_the_longest_take_part():
    # 64 of the 100 are taken evenly; in this order the second and the fifth would be passed over.
    texts = [[length] * length for length in (50, 1, 51, 52, 100, *range(2, 50), *range(53, 100))]
    real = build_probes(texts, vocabulary_size=50, max_tokens=100)[-5:-1]
    lengths = sorted(len(row) for batch in real for row in batch)
    assert (lengths[0], lengths[-1], len(lengths)) == (1, 100, 64)
