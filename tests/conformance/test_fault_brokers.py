"""Brokers that die, and brokers that refuse."""

from collections.abc import Callable

import pytest
from harness.arena import Arena
from harness.broker_faults import kill_broker_and_restart, refuse_writes, withdraw_broker
from harness.matrix import BROKERS_KILLED, Setup, share, strikes
from harness.subject import IS_FOREIGN

pytestmark = pytest.mark.conformance

BROKER_BAR_SECONDS = 12


@pytest.mark.fault("broker")
def test_brokers_are_killed_and_come_back(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    arena.await_ready(arena.start_worker("a"))
    times = strikes(short=1, whole=2, asked_for=share("BROKER_KILLS", setup, BROKERS_KILLED))

    waits = kill_broker_and_restart(arena, times=times)

    assert broken_promises(arena) == {}
    readers, feeders = zip(*waits, strict=True)
    # One that is alone takes everything with it: the bar is for one of three.
    is_promised = setup.nodes > 1
    note_waits(
        "a broker's SIGKILL, back in 1-3 s", list(readers), bar_seconds=BROKER_BAR_SECONDS, is_promised=is_promised
    )
    note_waits("the same, of a plain producer", list(feeders), bar_seconds=BROKER_BAR_SECONDS, is_promised=False)


@pytest.mark.fault("refusal")
def test_brokers_refuse_writes_for_a_while(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    arena.await_ready(arena.start_worker("a"))

    refusal = refuse_writes(arena, "a")

    if not IS_FOREIGN:
        assert refusal.ended, "a right that was withdrawn comes back by somebody's hand: it should have said so"
        assert all("may not WRITE" in log for log in refusal.ended), refusal.ended
    assert broken_promises(arena) == {}
    note_waits(
        "writes allowed again, until answered",
        [refusal.recovery_seconds],
        bar_seconds=BROKER_BAR_SECONDS,
        is_promised=False,
    )


@pytest.mark.fault("withdrawal")
def test_a_broker_that_is_needed_for_writing_is_away(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    worker = arena.start_worker("a")
    arena.await_ready(worker)

    seconds = withdraw_broker(arena)

    assert worker.status is None, f"it should have waited, not ended\n{worker.log()}"
    assert broken_promises(arena) == {}
    note_waits("the broker is back, until answered", [seconds], bar_seconds=BROKER_BAR_SECONDS, is_promised=False)
