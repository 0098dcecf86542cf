"""Workers that come and go."""

from collections.abc import Callable

import pytest
from harness.arena import Arena
from harness.matrix import Setup, strikes
from harness.membership_faults import scale_in, storm

pytestmark = pytest.mark.conformance

SCALE_IN_BAR_SECONDS = 3
TAKEOVER_BAR_SECONDS = 20


@pytest.mark.fault("storm")
def test_a_storm_of_rebalances(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    arena.await_ready(arena.start_worker("a"))

    waits = storm(arena, rounds=strikes(short=1, whole=3))

    assert broken_promises(arena) == {}
    note_waits("workers come and go", waits, bar_seconds=TAKEOVER_BAR_SECONDS, is_promised=False)


@pytest.mark.fault("scale_in")
def test_a_worker_leaves_for_good(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    arena.await_ready(*(arena.start_worker(name) for name in "abc"))

    wait = scale_in(arena, "c")

    assert broken_promises(arena) == {}
    note_waits("scale-in, the partitions that moved", [wait], bar_seconds=SCALE_IN_BAR_SECONDS)
