"""When events are due, which of them count, and how busy the machine was meanwhile."""

import time

import numpy as np
import pytest

from worker.bench.latency import LEAD_SECONDS, TICK_SECONDS, WARM_UP_SECONDS, Load, draw_ticks, leave_out_warm_up
from worker.bench.occupancy import Occupancy, busy_share

pytestmark = pytest.mark.fast


def test_the_events_of_the_warm_up_do_not_count() -> None:
    due_ns = np.array([0.0, WARM_UP_SECONDS - 0.001, WARM_UP_SECONDS, WARM_UP_SECONDS + 1]) * 1e9 + 5e9
    came_ns = due_ns + np.array([900, 900, 7.5, 9]) * 1e6
    assert leave_out_warm_up(due_ns.astype(np.int64), came_ns.astype(np.int64)).tolist() == [7.5, 9.0]


def test_without_an_event_there_is_no_latency() -> None:
    assert len(leave_out_warm_up(np.array([], np.int64), np.array([], np.int64))) == 0


def test_events_are_due_at_the_rate_and_at_the_same_ticks_for_the_same_seed() -> None:
    load = Load("events", rate=5_000, seconds=4, seed=3)
    before_ns = time.time_ns()
    due_ns, counts = zip(*draw_ticks(load), strict=True)
    assert sum(counts) == pytest.approx(20_000, rel=0.03)
    assert np.var(counts) == pytest.approx(np.mean(counts), rel=0.15), "as of Poisson's law"
    assert due_ns[0] >= before_ns + LEAD_SECONDS * 1e9
    assert set(np.diff(due_ns).tolist()) == {round(TICK_SECONDS * 1e9)}
    assert [count for _, count in draw_ticks(load)] == list(counts)


def test_a_core_that_waits_for_a_disk_is_not_busy() -> None:
    before = Occupancy.parse("cpu  100 10 20 500 50 1 2 3 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    after = Occupancy.parse("cpu  130 15 30 540 60 2 3 6 0 0\ncpu0 1 1 1 1 1 1 1 1 0 0\n")
    assert busy_share(before, after) == pytest.approx(50 / 100)


def test_without_readings_or_time_between_them_nobody_knows_how_busy_it_was() -> None:
    assert busy_share(None, Occupancy(1, 1)) is None
    assert busy_share(Occupancy(1, 1), None) is None
    assert busy_share(Occupancy(1, 1), Occupancy(1, 1)) is None
