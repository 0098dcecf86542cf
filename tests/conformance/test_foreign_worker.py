"""The suite on a worker that shares nothing with Limelight but the protocol, and keeps its promise."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.arena import Arena
from harness.matrix import ONCE, RD, Setup
from harness.process_faults import kill_and_restart
from harness.subject import Subject

pytestmark = pytest.mark.conformance

SCRIPT = Path(__file__).parent / "foreign_worker" / "exactly_once.py"


def test_a_foreign_worker_passes(
    open_arena: Callable[..., Arena], broken_promises: Callable[[Arena], dict[str, str]]
) -> None:
    arena = open_arena(Setup(1, ONCE, RD), subject=Subject((sys.executable, str(SCRIPT))))
    arena.await_ready(arena.start_worker("a"))

    kill_and_restart(arena, "a", times=1)

    assert broken_promises(arena) == {}
