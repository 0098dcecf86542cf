"""Real processes that die, refuse and hang."""

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fleet.programs import program

from worker.errors import ProcessesError
from worker.fleet.member import Member
from worker.fleet.supervisor import HOPELESS, WRONG_USAGE, Supervisor

pytestmark = pytest.mark.fast

PATIENCE_SECONDS = 20.0
WAITS = "import signal; signal.pause()"
NOTES = "import os, sys; print(os.getpid(), file=open(sys.argv[1], 'a'), flush=True);"
LIVES = "len(open(sys.argv[1]).readlines())"
"""Of a program that notes them, this one included."""
FINISHES = """
import signal, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
open(sys.argv[1], "a").close()
while True: signal.pause()
"""
HANGS = FINISHES.replace("lambda *_: sys.exit(0)", "signal.SIG_IGN")


class Asked:
    """What tells of a signal."""

    signal: int | None = None


class Run:
    """A supervisor that is stopped as soon as something has happened."""

    def __init__(self, members: list[Member], *, stop: Callable[[], bool], number: int = signal.SIGTERM) -> None:
        self._stopping = Asked()
        self._stop, self._number = stop, number
        self._deadline = time.monotonic() + PATIENCE_SECONDS
        self._supervisor = Supervisor(members, turned=self._turned)

    def __call__(self, *, limit_seconds: float = PATIENCE_SECONDS) -> None:
        self._supervisor.run(self._stopping, limit_seconds=limit_seconds)  # type: ignore[arg-type]

    def _turned(self) -> None:
        assert time.monotonic() < self._deadline, "it did not happen"
        if self._stop():
            self._stopping.signal = self._number


@pytest.fixture
def note(tmp_path: Path) -> Iterator[Path]:
    """Takes the process ids of the programs that note them; afterwards none of these may be left."""
    path = tmp_path / "note"
    yield path
    for line in path.read_text().split() if path.exists() else []:
        with pytest.raises(ProcessLookupError):
            os.kill(int(line), 0)


def lives(note: Path) -> list[str]:
    return note.read_text().split() if note.exists() else []


def test_a_process_that_dies_is_started_again_and_the_others_stay(
    build_member: Callable[..., Member], note: Path, tmp_path: Path
) -> None:
    dying = build_member(NOTES + f"{LIVES} == 3 or os.kill(os.getpid(), 9); {WAITS}", str(note))
    ready = tmp_path / "ready"
    staying = build_member(FINISHES, str(ready), number=1)

    Run([dying, staying], stop=lambda: len(lives(note)) == 3 and ready.exists())()

    assert dying.lives == 3
    assert (staying.lives, staying.status) == (1, 0)


def test_a_system_that_cannot_start_a_process_is_asked_again(note: Path) -> None:
    start = program(NOTES + f"{LIVES} == 2 or sys.exit(1); {WAITS}", str(note))
    refusals = [None, OSError("no memory"), OSError("no memory"), None]

    def start_or_refuse() -> "subprocess.Popen[bytes]":
        if refusal := refusals.pop(0):
            raise refusal
        return start()

    member = Member(0, start_or_refuse, host="@nobody-listens-here")
    Run([member], stop=lambda: len(lives(note)) == 2)()

    assert (member.lives, refusals) == (2, [])


def test_also_one_that_ends_by_itself_is_started_again(build_member: Callable[..., Member], note: Path) -> None:
    member = build_member(NOTES + f"{LIVES} == 2 or sys.exit(0); {WAITS}", str(note))

    Run([member], stop=lambda: len(lives(note)) == 2)()

    assert member.lives == 2


@pytest.mark.parametrize("status", [HOPELESS, WRONG_USAGE])
def test_an_error_that_no_restart_cures_ends_all(build_member: Callable[..., Member], note: Path, status: int) -> None:
    refusing = build_member(f"import sys; sys.exit({status})", number=1)
    other = build_member(NOTES + WAITS, str(note))

    with pytest.raises(ProcessesError, match=r"process 1 of 2 ended by an error that no restart cures"):
        Run([other, refusing], stop=lambda: False)()

    assert refusing.lives == 1
    assert other.status is not None


def test_a_signal_is_passed_on_and_everybody_finishes(build_member: Callable[..., Member], tmp_path: Path) -> None:
    marks = [tmp_path / "a", tmp_path / "b"]
    members = [build_member(FINISHES, str(mark), number=number) for number, mark in enumerate(marks)]

    Run(members, stop=lambda: all(mark.exists() for mark in marks))()

    assert [(member.status, member.lives) for member in members] == [(0, 1), (0, 1)]


def test_one_that_was_still_starting_has_nothing_to_finish(build_member: Callable[..., Member]) -> None:
    member = build_member(WAITS)

    Run([member], stop=lambda: True)()

    assert member.status == -signal.SIGTERM


def test_one_that_hangs_is_killed_and_told(build_member: Callable[..., Member], tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    member = build_member(HANGS, str(mark))

    with pytest.raises(ProcessesError, match="process 0 ended by SIGKILL"):
        Run([member], stop=mark.exists)(limit_seconds=0.2)


def test_a_pause_keeps_nobody_from_ending(build_member: Callable[..., Member], note: Path) -> None:
    """The process that died is not started once more in order to be stopped."""
    member = build_member(NOTES + "sys.exit(1)", str(note))
    seen = threading.Event()

    def is_away() -> bool:
        if member.lives == 3 and not member.is_running:
            seen.set()
        return seen.is_set()

    Run([member], stop=is_away)()

    assert len(lives(note)) == 3
