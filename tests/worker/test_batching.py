from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.batching import plan_batches

pytestmark = pytest.mark.fast

lists_of_lengths = st.lists(st.integers(0, 60))


def plan(lengths: list[int], max_rows: int) -> list[list[int]]:
    return list(plan_batches(np.array(lengths, np.int64), max_rows=max_rows))


@given(lists_of_lengths, st.integers(1, 9))
def test_every_row_with_tokens_is_in_exactly_one_batch(lengths: list[int], max_rows: int) -> None:
    batches = plan(lengths, max_rows)

    assert sorted(row for batch in batches for row in batch) == [row for row, length in enumerate(lengths) if length]
    assert all(1 <= len(batch) <= max_rows for batch in batches)


@given(lists_of_lengths, st.integers(1, 9))
def test_a_batch_holds_neighbours_in_length(lengths: list[int], max_rows: int) -> None:
    batches = [[lengths[row] for row in batch] for batch in plan(lengths, max_rows)]

    for shorter, longer in pairwise(batches):
        assert max(shorter) <= min(longer)


def test_sorting_saves_padding() -> None:
    lengths = [60, 2, 3, 60, 2, 3, 60, 3]

    def cells(batches: list[list[int]]) -> int:
        return sum(len(batch) * max(lengths[row] for row in batch) for batch in batches)

    arrival = [list(range(start, start + 4)) for start in (0, 4)]
    assert cells(plan(lengths, 4)) < cells(arrival) * 0.6
