"""Signals to workers."""

from collections.abc import Callable

import pytest
from harness.arena import Arena
from harness.matrix import KILLED, Setup, share, strikes
from harness.membership_faults import await_shares, kill_for_good
from harness.process_faults import (
    kill_and_restart,
    suspend_and_replace,
    suspend_until_expelled,
    terminate_and_restart,
)
from harness.subject import EXIT_SECONDS

pytestmark = pytest.mark.conformance

RESTART_BAR_SECONDS = 3
SESSION_SECONDS = 6
"""The least that a broker allows. After a longer silence a client no longer takes itself for a member."""
TRANSACTION_TIMEOUT_SECONDS = 10
TAKEOVER_BAR_SECONDS = TRANSACTION_TIMEOUT_SECONDS + 10
"""The broker looks for expired transactions every ten seconds."""


@pytest.mark.fault("sigkill")
def test_a_worker_is_killed_and_restarted(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    arena.await_ready(arena.start_worker("a"))

    waits = kill_and_restart(arena, "a", times=strikes(short=3, whole=3, asked_for=share("KILLS", setup, KILLED)))

    assert broken_promises(arena) == {}
    note_waits("SIGKILL, back within a second", waits, bar_seconds=RESTART_BAR_SECONDS)


@pytest.mark.fault("sigterm")
def test_a_worker_drains_and_is_restarted(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    arena.await_ready(arena.start_worker("a"))

    waits = terminate_and_restart(arena, "a", times=strikes(short=2, whole=3))

    assert broken_promises(arena) == {}
    note_waits("SIGTERM, back at once", waits, bar_seconds=RESTART_BAR_SECONDS, is_promised=False)


@pytest.mark.fault("sigstop")
def test_a_suspended_worker_that_was_replaced_ends_by_itself(
    setup: Setup, open_arena: Callable[..., Arena], broken_promises: Callable[[Arena], dict[str, str]]
) -> None:
    arena = open_arena(setup, settings={"SESSION_TIMEOUT_SECONDS": str(SESSION_SECONDS)})
    arena.await_ready(arena.start_worker("a"))

    suspended = suspend_and_replace(arena, "a", seconds=SESSION_SECONDS + 1)

    arena.expect(lambda: suspended.status is not None, "the one that was suspended ends by itself", EXIT_SECONDS)
    assert suspended.status != 0, suspended.log()
    arena.await_progress()
    assert arena.workers["a"].status is None, f"it drove its successor out\n{arena.workers['a'].log()}"
    assert broken_promises(arena) == {}


@pytest.mark.fault("expelled")
def test_a_suspended_worker_whose_partitions_were_taken_does_no_harm(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    arena.await_ready(arena.start_worker("a"), arena.start_worker("b"))
    await_shares(arena, "a", "b")

    wait = suspend_until_expelled(arena, "b", seconds=3 * TAKEOVER_BAR_SECONDS)
    revived = arena.workers["b"]
    # Its transaction was ended for it: it may leave, or join again, but not go on as if nothing had happened.
    arena.expect(
        lambda: revived.status is not None or bool(arena.facts.members(arena.group).get("b")),
        "the revived worker has left, or joined again",
        EXIT_SECONDS,
    )
    arena.await_progress(seconds=3 * TAKEOVER_BAR_SECONDS)
    if revived.status is not None:
        arena.retire(revived)

    assert broken_promises(arena) == {}
    note_waits("SIGSTOP until others took over", [wait], bar_seconds=TAKEOVER_BAR_SECONDS, is_promised=False)


@pytest.mark.fault("takeover")
def test_a_killed_worker_that_stays_away_is_replaced_by_the_others(
    setup: Setup,
    open_arena: Callable[..., Arena],
    note_waits: Callable[..., None],
    broken_promises: Callable[[Arena], dict[str, str]],
) -> None:
    arena = open_arena(setup)
    arena.await_ready(arena.start_worker("a"), arena.start_worker("b"))

    wait = kill_for_good(arena, "b", seconds=3 * TAKEOVER_BAR_SECONDS)

    assert broken_promises(arena) == {}
    note_waits("SIGKILL, not restarted", [wait], bar_seconds=TAKEOVER_BAR_SECONDS)
