from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.answers.batching import Caps, caps_among, caps_for, plan_batches

pytestmark = pytest.mark.fast

lists_of_lengths = st.lists(st.integers(0, 60))


caps_of_all_sizes = st.builds(Caps, st.integers(1, 9), st.integers(1, 300))


def plan(lengths: list[int], caps: Caps) -> list[list[int]]:
    return list(plan_batches(np.array(lengths, np.int64), caps))


@given(lists_of_lengths, caps_of_all_sizes)
def test_every_row_with_tokens_is_in_exactly_one_batch(lengths: list[int], caps: Caps) -> None:
    batches = plan(lengths, caps)

    assert sorted(row for batch in batches for row in batch) == [row for row, length in enumerate(lengths) if length]
    assert all(1 <= len(batch) <= caps.rows for batch in batches)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[row] for row in batch) <= caps.cells


@given(lists_of_lengths, caps_of_all_sizes)
def test_a_batch_holds_neighbours_in_length_and_as_many_as_it_may(lengths: list[int], caps: Caps) -> None:
    batches = [[lengths[row] for row in batch] for batch in plan(lengths, caps)]

    for shorter, longer in pairwise(batches):
        assert max(shorter) <= min(longer)
        assert len(shorter) == caps.rows or (len(shorter) + 1) * min(longer) > caps.cells


def test_sorting_saves_padding() -> None:
    lengths = [60, 2, 3, 60, 2, 3, 60, 3]

    def cells(batches: list[list[int]]) -> int:
        return sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)

    arrival = [list(range(start, start + 4)) for start in (0, 4)]
    assert cells(plan(lengths, caps_for(4))) < cells(arrival) * 0.6


@given(st.integers(0, 600), st.integers(0, 600), st.builds(Caps, st.integers(1, 200), st.integers(1, 9_000)))
def test_fewer_rows_get_smaller_batches_and_many_get_no_larger_ones(fewer: int, more: int, caps: Caps) -> None:
    fewer, more = sorted((fewer, more))
    small, large = (caps_among(rows, caps, found_among=256) for rows in (fewer, more))

    assert Caps(1, 1) <= small
    assert small.rows <= large.rows <= caps.rows
    assert small.cells <= large.cells <= caps.cells
    assert caps_among(256, caps, found_among=256) == caps


def test_a_small_slice_is_padded_less() -> None:
    lengths = np.random.default_rng(3).geometric(1 / 12, 32)

    def padding(caps: Caps) -> int:
        batches = [lengths[batch] for batch in plan_batches(lengths, caps)]
        return sum(int(batch.max() * len(batch) - batch.sum()) for batch in batches)

    assert padding(caps_among(32, caps_for(32), found_among=256)) < padding(caps_for(32)) * 0.6
