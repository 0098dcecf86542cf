"""How many slices are scored together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.stream.pace import MOST_TOGETHER, SCORING_SECONDS, Pace

pytestmark = pytest.mark.fast


def pace_after(records: int, seconds: float) -> int:
    pace = Pace(slice_records=512)
    pace.learn(records, seconds)
    return pace.together


def test_what_nothing_is_known_of_is_scored_slice_by_slice() -> None:
    assert Pace(slice_records=512).together == 1


@pytest.mark.parametrize(("rate", "together"), [(100, 1), (9_000, 1), (12_000, 2), (16_000, 3), (25_000, 4), (1e6, 4)])
def test_so_much_is_scored_together_as_a_moment_allows(rate: float, together: int) -> None:
    assert pace_after(512, 512 / rate) == together


@given(records=st.integers(1, 10_000), seconds=st.floats(0, 100))
def test_more_than_one_slice_never_takes_longer_than_the_moment_at_that_pace(records: int, seconds: float) -> None:
    together = pace_after(records, seconds)

    assert 1 <= together <= MOST_TOGETHER
    assert together == 1 or together * 512 * seconds <= SCORING_SECONDS * records * (1 + 1e-9)
