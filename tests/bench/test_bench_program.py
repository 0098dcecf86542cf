"""Programs under measurement: none outlives its block, and one that fails says why."""

import os
import signal
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from worker.bench import program
from worker.bench.errors import BenchError
from worker.bench.program import Program
from worker.bench.side_process import SideProcess

pytestmark = pytest.mark.fast

WaitFor = Callable[..., None]


def run_python(code: str) -> Program:
    return Program([sys.executable, "-c", code], os.environ, name="the peer")


def is_over(running: Program) -> bool:
    try:
        running.require_alive()
    except BenchError:
        return True
    return False


def test_who_ends_too_early_is_quoted(wait_for: WaitFor) -> None:
    with run_python("import sys; print('first'); sys.exit('no such model')") as running:
        wait_for(lambda: is_over(running))
        with pytest.raises(BenchError, match="the peer ended with status 1 before it was done: first no such model"):
            running.require_alive()


def test_who_still_runs_is_asked_to_end(tmp_path: Path, wait_for: WaitFor) -> None:
    ready, ended = tmp_path / "ready", tmp_path / "ended"
    code = f"""
import pathlib, signal
signal.signal(signal.SIGTERM, lambda *_: exit(pathlib.Path({str(ended)!r}).touch()))
pathlib.Path({str(ready)!r}).touch()
while True: signal.pause()
"""
    with run_python(code) as running:
        wait_for(ready.exists)
        running.require_alive()
    assert ended.exists()


def test_who_does_not_listen_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait_for: WaitFor) -> None:
    monkeypatch.setattr(program, "STOP_SECONDS", 0.1)
    ready = tmp_path / "ready"
    code = f"""
import os, pathlib, signal
signal.signal(signal.SIGTERM, signal.SIG_IGN)
pathlib.Path({str(ready)!r}).write_text(str(os.getpid()))
while True: signal.pause()
"""
    with run_python(code):
        wait_for(lambda: ready.exists() and ready.read_text() != "")
    assert not Path("/proc", ready.read_text()).exists()


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(BenchError, match="cannot be started: /no/such/program: No such file"):
        Program(["/no/such/program"], {}, name="the peer").__enter__()


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def die_when_asked() -> Callable[[None], None]:
    return lambda _: die()


def test_a_process_of_our_own_that_dies_is_an_error_of_the_bench() -> None:
    with pytest.raises(BenchError, match="feeding could not be started: it died of SIGKILL"):
        SideProcess(die, name="feeding")  # type: ignore[arg-type]
    with (
        closing(SideProcess(die_when_asked, name="feeding")) as process,
        pytest.raises(BenchError, match="feeding could not be finished: it died of SIGKILL"),
    ):
        process.ask(None, timeout_seconds=10)
