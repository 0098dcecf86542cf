import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.fleet.backoff import FIRST_SECONDS, HEALTHY_SECONDS, MOST_SECONDS, Backoff

pytestmark = pytest.mark.fast


def test_pauses_double_up_to_a_limit() -> None:
    backoff = Backoff()
    pauses = [backoff.pause_seconds(lived_seconds=1) for _ in range(20)]

    assert pauses[:4] == [FIRST_SECONDS * factor for factor in (1, 2, 4, 8)]
    assert pauses[-1] == MOST_SECONDS
    assert pauses == sorted(pauses)


@given(deaths=st.lists(st.floats(0, HEALTHY_SECONDS, exclude_max=True), max_size=3_000))
def test_a_healthy_life_is_the_end_of_it_however_many_came_before(deaths: list[float]) -> None:
    backoff = Backoff()
    for lived_seconds in deaths:
        assert FIRST_SECONDS <= backoff.pause_seconds(lived_seconds=lived_seconds) <= MOST_SECONDS

    assert backoff.pause_seconds(lived_seconds=HEALTHY_SECONDS) == FIRST_SECONDS
    assert backoff.pause_seconds(lived_seconds=0) == 2 * FIRST_SECONDS
