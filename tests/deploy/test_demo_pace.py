"""The pace of the feeder, on a clock that moves only when somebody waits."""

import threading

import pytest

from deploy.local.demo.feeder import TICK_SECONDS, Pace

pytestmark = pytest.mark.fast


class Clock(threading.Event):
    """An event whose waits take no time, but move the clock."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds = 100.0
        self.waits = 0

    def wait(self, timeout: float | None = None) -> bool:
        """Moves the clock."""
        self.seconds += timeout or 0.0
        self.waits += 1
        return self.is_set()


@pytest.mark.parametrize("rate", [0.5, 20, 99, 500, 5_000])
def test_no_record_goes_early_nor_more_than_a_tick_late(rate: float) -> None:
    clock = Clock()
    pace = Pace(rate, now=lambda: clock.seconds)
    for number in range(200):
        assert not pace.await_turn(number, clock)
        late_seconds = clock.seconds - 100.0 - number / rate
        assert -1e-9 <= late_seconds <= TICK_SECONDS + 1e-9


def test_what_is_due_within_a_tick_shares_one_wait() -> None:
    clock = Clock()
    pace = Pace(1_000, now=lambda: clock.seconds)
    for number in range(200):
        pace.await_turn(number, clock)
    assert clock.waits <= 20


def test_a_long_wait_ends_when_it_is_asked_to() -> None:
    stop = threading.Event()
    stop.set()
    pace = Pace(0.001)
    assert pace.await_turn(1, stop)
