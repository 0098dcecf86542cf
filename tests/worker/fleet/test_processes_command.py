"""``run --processes`` as far as it goes without a broker."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from worker.fleet.supervisor import HOPELESS

pytestmark = pytest.mark.fast

PATIENCE_SECONDS = 60
HEAVY = ("pydantic", "numpy", "onnxruntime", "kafka", "prometheus_client", "worker.app", "worker.settings")


def run(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {f"LIMELIGHT_{name.upper()}": value for name, value in settings.items()}
    return subprocess.run(
        [sys.executable, "-m", "worker", "run", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_the_parent_loads_neither_model_nor_client_nor_settings() -> None:
    script = f"import sys, worker.commands.run, worker.fleet.run; print(*({HEAVY!r} & sys.modules.keys()))"
    script = script.replace(repr(HEAVY), f"set({HEAVY!r})")

    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout

    assert said.split() == []


def test_a_setting_that_is_not_allowed_is_told_once() -> None:
    ended = run("--processes", "2", slice_records="0")

    assert ended.returncode == 1
    [line] = ended.stderr.splitlines()
    assert line.startswith("error: LIMELIGHT_SLICE_RECORDS='0' is not allowed")


def test_a_process_tells_its_parent_what_no_restart_cures(tmp_path: Path) -> None:
    ended = run("--process", "1/2", "--parent", str(os.getpid()), bundle=str(tmp_path), log_format="json")

    assert ended.returncode == HOPELESS
    *logged, told = ended.stderr.splitlines()
    assert told.startswith(f"error: no bundle at {tmp_path}")
    assert {json.loads(line)["process"] for line in logged} == {1}


def test_a_process_dies_with_its_parent(tmp_path: Path) -> None:
    """Killed, it has no time to say goodbye."""
    child = "from worker.process.parentage import die_with_parent; import os, signal\n"
    child += "die_with_parent(os.getppid()); print(os.getpid(), flush=True); signal.pause()"
    parent = subprocess.Popen(
        [sys.executable, "-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"],
        stdout=subprocess.PIPE,
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        assert int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)

        assert parent.stdout.read() == b"", "the pipe ends with the last process that holds it"


def test_one_whose_parent_is_gone_already_does_not_begin() -> None:
    ended = run("--process", "0/2", "--parent", "1")

    assert ended.returncode == -signal.SIGKILL
