"""Child processes end with us, however we end."""

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from deploy.local.processes import ChildProcess, stop_all

pytestmark = pytest.mark.fast

WaitFor = Callable[[Callable[[], bool]], None]
IsAlive = Callable[[int], bool]
DEADLINE_SECONDS = 15
SLEEP = [sys.executable, "-c", "import signal; print('up', flush=True); signal.pause()"]


def test_stop_ends_it_with_sigterm(tmp_path: Path, wait_for: WaitFor) -> None:
    with ChildProcess(SLEEP, name="sleeper", output=tmp_path / "out") as child:
        wait_for(lambda: child.tail() == "up")
        assert child.status is None
    assert child.status == -signal.SIGTERM


def test_what_ignores_sigterm_is_killed_with_all_that_it_started(
    tmp_path: Path, wait_for: WaitFor, is_alive: IsAlive
) -> None:
    stubborn = "trap '' TERM; sleep 600 & echo $!; while :; do wait; done"
    child = ChildProcess(["sh", "-c", stubborn], name="stubborn", output=tmp_path / "out", grace_seconds=0.1)
    wait_for(lambda: child.tail() != "")
    grandchild = int(child.tail())
    child.stop()
    assert child.status == -signal.SIGKILL
    wait_for(lambda: not is_alive(grandchild))


def test_the_exit_status_and_the_last_lines_are_kept(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.write_text("of an earlier process\n")
    with ChildProcess(["sh", "-c", "echo 1; echo 2; echo 3 >&2; exit 7"], name="talker", output=output) as child:
        assert child.wait(DEADLINE_SECONDS) == 7
    assert child.tail(lines=2) == "2\n3"
    assert child.tail() == "1\n2\n3"


def test_a_program_that_does_not_exist_is_named(tmp_path: Path) -> None:
    with ChildProcess(["/no/such/program"], name="nothing", output=tmp_path / "out") as child:
        assert child.wait(DEADLINE_SECONDS) == 127
    assert child.tail() == "error: cannot start /no/such/program: No such file or directory"


def test_a_child_sees_added_variables_and_dies_of_a_broken_pipe(tmp_path: Path) -> None:
    # Python ignores SIGPIPE; if the launcher passed that on, `yes` would not stop here but complain.
    command = ["sh", "-c", 'echo "$LIMELIGHT_PROBE"; yes | head -1']
    with ChildProcess(command, name="pipe", output=tmp_path / "out", environment={"LIMELIGHT_PROBE": "seen"}) as child:
        assert child.wait(DEADLINE_SECONDS) == 0
    assert child.tail() == "seen\ny"


def test_a_child_outlives_the_thread_that_asked_for_it(tmp_path: Path, wait_for: WaitFor) -> None:
    # The kernel's parent-death signal is really a parent-*thread*-death signal.
    children: list[ChildProcess] = []

    def start() -> None:
        children.append(ChildProcess(SLEEP, name="sleeper", output=tmp_path / "out"))
        wait_for(lambda: children[0].tail() == "up")

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    with children[0] as child, pytest.raises(subprocess.TimeoutExpired):
        child.wait(0.2)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has a parent-death signal")
def test_sigkill_to_us_ends_the_child(tmp_path: Path, wait_for: WaitFor, is_alive: IsAlive) -> None:
    program = (
        "import signal, sys; from pathlib import Path; from deploy.local.processes import ChildProcess\n"
        f"child = ChildProcess({SLEEP!r}, name='sleeper', output=Path('out'))\n"
        "print(child.pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, cwd=tmp_path) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        wait_for(lambda: (tmp_path / "out").read_text() == "up\n")
        parent.kill()
        parent.wait()
    wait_for(lambda: not is_alive(pid))


def test_several_end_at_the_same_time(tmp_path: Path, wait_for: WaitFor) -> None:
    waits_for_the_other = (
        "trap 'touch {0}; while [ ! -e {1} ]; do sleep 0.02; done; exit 0' TERM; echo up; while :; do sleep 0.02; done"
    )
    children = [
        ChildProcess(
            ["sh", "-c", waits_for_the_other.format(tmp_path / mine, tmp_path / theirs)],
            name=mine,
            output=tmp_path / f"{mine}.out",
        )
        for mine, theirs in (("a", "b"), ("b", "a"))
    ]
    wait_for(lambda: all(child.tail() == "up" for child in children))
    stop_all(children)
    assert [child.status for child in children] == [0, 0]


def test_ctrl_c_while_it_is_being_started_ends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_alive: IsAlive
) -> None:
    interrupted = threading.Event()
    started: list[int] = []
    popen = subprocess.Popen

    def interrupt(*_: object) -> None:
        if not interrupted.is_set():
            interrupted.set()
            raise KeyboardInterrupt

    def start_and_interrupt(*arguments: Any, **options: Any) -> "subprocess.Popen[bytes]":
        process = popen(*arguments, **options)
        started.append(process.pid)
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not interrupted.is_set() and time.monotonic() < deadline:
            # Again and again: one that comes just before the other thread begins to wait does not wake it.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
            interrupted.wait(0.05)
        return process

    monkeypatch.setattr(subprocess, "Popen", start_and_interrupt)
    previous = signal.signal(signal.SIGINT, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            ChildProcess(SLEEP, name="sleeper", output=tmp_path / "out")
    finally:
        signal.signal(signal.SIGINT, previous)
    assert interrupted.is_set()
    assert not is_alive(started[0])


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_every_request_to_end_interrupts(number: signal.Signals) -> None:
    program = (
        "import time; from deploy.local.processes import interrupt_on_termination\n"
        "interrupt_on_termination()\n"
        "try:\n"
        "    print('up', flush=True)\n"
        # A signal just before a long sleep would be noticed only after it.
        "    while True: time.sleep(0.05)\n"
        "except KeyboardInterrupt: print('interrupted')"
    )
    # As a shell without job control starts what stands before `&`.
    in_background = ["sh", "-c", "trap '' INT; exec \"$@\"", "sh", sys.executable, "-c", program]
    with subprocess.Popen(in_background, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "up\n"
        process.send_signal(number)
        assert process.stdout.read() == "interrupted\n"
