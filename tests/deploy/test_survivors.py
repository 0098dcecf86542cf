"""The test session itself fails if a test leaves a process behind."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.fast

LEAK = """
import subprocess
from pathlib import Path

def test_that_leaks():
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    Path("pid").write_text(str(process.pid))
    process.returncode = 0  # silences the warning: nothing here may notice but the check
"""


@pytest.mark.parametrize("options", [[], ["-n", "1"]], ids=["one process", "with -n"])
def test_a_process_that_survives_fails_the_session_and_is_ended(
    pytestconfig: pytest.Config, tmp_path: Path, is_alive: Callable[[int], bool], options: list[str]
) -> None:
    shutil.copy(pytestconfig.rootpath / "tests/conftest.py", tmp_path)
    (tmp_path / "test_it.py").write_text(LEAK)
    (tmp_path / "pytest.ini").touch()
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *options]
    # A process of this session is none of that one's business.
    with subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"]) as bystander:
        answer = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert bystander.poll() is None
        bystander.terminate()
    assert "1 passed" in answer.stdout, answer.stdout + answer.stderr
    assert answer.returncode == pytest.ExitCode.TESTS_FAILED
    assert "error: a test left a process behind" in answer.stdout
    assert "sleep 600" in answer.stdout
    assert not is_alive(int((tmp_path / "pid").read_text()))
