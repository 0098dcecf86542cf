import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.answers.lanes import Lanes

pytestmark = pytest.mark.fast

PATIENCE_SECONDS = 30.0


@given(st.integers(1, 4), st.integers(0, 20))
def test_every_job_is_done_once(count: int, jobs: int) -> None:
    assert sorted(Lanes(count).run(lambda job: job * 2, range(jobs))) == [job * 2 for job in range(jobs)]


def test_as_many_jobs_are_under_way_as_there_are_lanes() -> None:
    together = threading.Barrier(3, timeout=PATIENCE_SECONDS)

    assert len(Lanes(3).run(lambda _: together.wait(), range(3))) == 3


def test_one_lane_is_the_caller() -> None:
    assert set(Lanes(1).run(lambda _: threading.current_thread(), range(5))) == {threading.current_thread()}


@pytest.mark.parametrize("is_caller", [True, False])
def test_an_error_ends_all_lanes_before_it_is_raised(*, is_caller: bool) -> None:
    caller = threading.current_thread()
    both_are_in, has_failed = threading.Barrier(2, timeout=PATIENCE_SECONDS), threading.Event()
    finished: list[int] = []
    lanes = Lanes(2)

    def work(job: int) -> None:
        if job >= 98:
            both_are_in.wait()
            if (threading.current_thread() is caller) == is_caller:
                has_failed.set()
                raise ZeroDivisionError
            assert has_failed.wait(PATIENCE_SECONDS)
        finished.append(job)

    with pytest.raises(ZeroDivisionError):
        lanes.run(work, range(100))

    # The other lane has ended what it was in, and takes nothing more.
    assert {98, 99} & set(finished)
    count = len(finished)
    lanes.run(work, range(5))
    assert len(finished) == count + 5
