"""Records that cannot be scored, that kill, and that take long."""

from collections.abc import Callable

import pytest
from harness.arena import Arena
from harness.matrix import Setup
from harness.record_faults import SLOW_SECONDS, kill_by_record, poison, sabotage_variables, slow_model
from harness.subject import ONLY_OWN

from worker.stream.attempts import DEATHS

pytestmark = pytest.mark.conformance

POISON_BAR_SECONDS = 3
KILLER_BAR_SECONDS = 20
RECOVERY_SECONDS = 3
SESSION_SECONDS = 6
"""Without a heartbeat for so long, a worker loses its partitions."""
MAX_POLL_MS = 7000
"""So it does without a poll for so long."""


@ONLY_OWN
@pytest.mark.fault("poison")
def test_poison_takes_no_neighbour_along(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    worker = arena.start_worker("a")
    arena.await_ready(worker)

    waits = poison(arena)

    assert worker.status is None, worker.log()
    assert broken_promises(arena) == {}
    note_waits("poison in every partition", waits, bar_seconds=POISON_BAR_SECONDS, is_promised=False)


@ONLY_OWN
@pytest.mark.fault("killer")
def test_a_record_that_kills_is_found_out(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    arena.await_ready(arena.start_worker("a", **sabotage_variables()))

    deaths = kill_by_record(arena, "a")

    # Who got as far as this offset itself has left no note there, so one death may be more than the two that count.
    assert deaths.attempts == DEATHS + 1, deaths
    assert DEATHS <= deaths.at_offset <= DEATHS + 1, deaths
    assert broken_promises(arena) == {}
    note_waits(
        f"a record that killed {deaths.at_offset} times",
        [deaths.wait_seconds],
        bar_seconds=KILLER_BAR_SECONDS,
        is_promised=False,
    )


@ONLY_OWN
@pytest.mark.fault("slow")
def test_a_slow_model_does_not_cost_the_membership(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    limits = {"SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS), "PROPERTIES": f"max.poll.interval.ms={MAX_POLL_MS}"}
    arena = open_arena(setup, settings=limits)
    worker = arena.start_worker("a", **sabotage_variables())
    arena.await_ready(worker)

    wait = slow_model(arena)

    # Not the whole of SLOW_SECONDS: answers from before the slow batch still arrive while it takes its time.
    assert wait > SESSION_SECONDS, "the model was not slow"
    assert worker.status is None, worker.log()
    assert broken_promises(arena) == {}
    note_waits(
        f"a batch of {SLOW_SECONDS:.0f} s", [wait], bar_seconds=SLOW_SECONDS + RECOVERY_SECONDS, is_promised=False
    )
