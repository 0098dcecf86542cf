"""``.ci/with_engine``: the command runs whatever becomes of the engine, and nothing of the engine stays."""

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

SCRIPT = Path(__file__).parents[2] / ".ci/with_engine"
TOOLS = ("bash", "sh", "timeout", "mktemp", "tail", "rm", "umount", "sleep", "cat")
REFUSED = "echo 'Cannot connect to the Docker daemon' >&2; exit 1"
COMMAND = ("sh", "-c", "echo ran; exit 7")

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs the script on a machine whose other programs are the given ones: name -> shell script.

    ``python`` is the one that fetches the image, or builds it.
    """

    def run(*command: str, python: str = "exit 0", **programs: str) -> "subprocess.CompletedProcess[str]":
        path, state, venv = tmp_path / "bin", tmp_path / "state", tmp_path / ".venv/bin"
        for directory in (path, state, venv):
            directory.mkdir(parents=True)
        (venv / "python").write_text(f"#!/bin/sh\n{python}\n")
        (venv / "python").chmod(0o755)
        for tool in TOOLS:
            (path / tool).symlink_to(shutil.which(tool) or f"no {tool} on this machine")
        for name, script in {"docker": REFUSED, "id": "echo 0", **programs}.items():
            file = path / name.replace("_", "-")
            file.write_text(f"#!/bin/sh\n{script}\n")
            file.chmod(0o755)
        return subprocess.run(
            [SCRIPT, *(command or COMMAND)],
            cwd=tmp_path,
            env={"PATH": str(path), "TMPDIR": str(state)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    return run


@pytest.mark.parametrize(
    ("programs", "reason"),
    [
        ({"id": "echo 1000"}, "none answers, and only root can start one"),
        ({}, "none answers, and there is no apt-get to install one"),
        ({"apt_get": "echo 'E: no network' >&2; exit 100"}, "apt-get failed: E: no network"),
        ({"apt_get": "exit 0"}, "dockerd does not answer: "),
        ({"dockerd": "echo 'needs a kernel' >&2; exit 1"}, "dockerd does not answer: needs a kernel"),
    ],
)
def test_without_an_engine_the_reason_is_a_line_and_the_command_runs(
    run: Run, tmp_path: Path, programs: dict[str, str], reason: str
) -> None:
    ended = run(**programs)
    assert (ended.returncode, ended.stdout) == (7, "ran\n")
    assert ended.stderr.startswith(f"no Docker engine for the tests of containers: {reason}")
    assert ended.stderr.count("\n") == 1
    assert list((tmp_path / "state").iterdir()) == []


def test_an_engine_that_answers_is_used_as_it_is(run: Run) -> None:
    ended = run("sh", "-c", "echo ${DOCKER_HOST-the usual}", docker="exit 0", dockerd="echo started >&2")
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "the usual\n", "")


def engine(pid_file: Path) -> dict[str, str]:
    """A dockerd that writes its process id, and a docker that answers from then on."""
    return {
        "docker": f"test -e {pid_file}",
        "dockerd": f"echo $$ > {pid_file}.new; mv {pid_file}.new {pid_file}; exec sleep 600",
        "mv": f'exec {shutil.which("mv")} "$@"',
    }


def test_its_own_engine_ends_with_the_command(run: Run, tmp_path: Path) -> None:
    pid_file = tmp_path / "dockerd.pid"
    ended = run("sh", "-c", f"kill -0 $(cat {pid_file}) && echo $DOCKER_HOST", **engine(pid_file))
    assert (ended.returncode, ended.stdout.startswith("unix:///")) == (0, True), ended.stderr
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), signal.SIGCONT)
    assert list((tmp_path / "state").iterdir()) == []


def test_an_engine_without_an_image_is_of_no_use(run: Run, tmp_path: Path) -> None:
    pid_file = tmp_path / "dockerd.pid"
    ended = run(python="echo 'error: no image' >&2; exit 1", **engine(pid_file))
    assert (ended.returncode, ended.stdout) == (7, "ran\n")
    assert ended.stderr == (
        "no Docker engine for the tests of containers: Kafka's image can be neither pulled nor built: error: no image\n"
    )
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid_file.read_text()), signal.SIGCONT)
    assert list((tmp_path / "state").iterdir()) == []
