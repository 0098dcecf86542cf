"""Signals that come at the worst of moments, each to a process of its own."""

import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.fast

BEGIN = """
import os, signal, sys, threading, time
from worker.process.stopping import Stopping
stopping = Stopping(limit_seconds={limit})
"""


def run(script: str, *, limit: float = 30) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", BEGIN.format(limit=limit) + script]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_a_signal_that_comes_while_a_thread_is_being_started_is_heard() -> None:
    # The lock that starting a thread takes: a handler that started one would wait for ever.
    script = """
with threading._active_limbo_lock:
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(0)
stopping.close()
print(int(stopping.signal))
"""
    ended = run(script)

    assert (ended.returncode, ended.stdout) == (0, f"{int(signal.SIGTERM)}\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_the_process_at_once(number: signal.Signals) -> None:
    ended = run(f"for _ in range(2): os.kill(os.getpid(), {int(number)})\nprint('still here')")

    assert (ended.returncode, ended.stdout) == (128 + number, "")


def test_an_order_is_one_signal_however_often_it_is_given() -> None:
    ended = run("for _ in range(3): stopping.order()\nstopping.close()\nprint(int(stopping.signal))")

    assert (ended.returncode, ended.stdout) == (0, f"{int(signal.SIGTERM)}\n")


def test_who_does_not_return_in_time_is_ended_and_it_is_told() -> None:
    ended = run("os.kill(os.getpid(), signal.SIGTERM)\nthreading.Event().wait()", limit=0.05)

    assert ended.returncode == 1
    assert "did not stop in time" in ended.stdout + ended.stderr


@pytest.mark.parametrize("asked", ["", "os.kill(os.getpid(), signal.SIGTERM)\n"])
def test_who_ends_unasked_has_no_longer(asked: str) -> None:
    ended = run(f"stopping.expect_end()\n{asked}threading.Event().wait()", limit=0.05)

    assert ended.returncode == 1
    assert "did not stop in time" in ended.stdout + ended.stderr


def test_who_was_not_asked_just_ends() -> None:
    ended = run("stopping.close()\nprint(stopping.signal)")

    assert (ended.returncode, ended.stdout) == (0, "None\n")


def test_a_client_that_keeps_the_interpreters_lock_cannot_keep_the_process() -> None:
    code = (
        "import ctypes\n"
        "from worker.process import stopping\n"
        "stopping.LEAVE_SECONDS = 0.2\n"
        "stopping.Stopping(limit_seconds=60).expect_end()\n"
        "ctypes.PyDLL(None).pause()\n"  # unlike CDLL it does not let other threads run
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 1
    assert "Timeout" in ended.stderr
    assert 'File "<string>", line 5 in <module>' in ended.stderr
