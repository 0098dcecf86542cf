"""The suite must fail on workers that are wrong, and say in which way."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from harness.arena import Arena
from harness.matrix import ONCE, PYTHON, Setup
from harness.process_faults import kill_and_restart
from harness.subject import Subject

pytestmark = pytest.mark.conformance

WRONG = {"loses": "lost", "duplicates": "duplicated", "reorders": "disordered"}
KILLS = 3


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_worker_is_found_out(name: str, open_arena: Callable[..., Arena]) -> None:
    script = Path(__file__).parent / "wrong_workers" / f"{name}.py"
    arena = open_arena(Setup(1, ONCE, PYTHON), subject=Subject((sys.executable, str(script))))
    arena.await_ready(arena.start_worker("a"))

    kill_and_restart(arena, "a", times=KILLS)
    findings = arena.finish().findings()

    assert WRONG[name] in findings
    # A worker that does not lose must not be called one that does; a kill between send and commit doubles in any case.
    assert findings.keys() <= {WRONG[name], "duplicated"}
