"""What is answered before TensorFlow is loaded."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.fast

TELEMETRY = "ORT_DISABLE_TELEMETRY"
"""Set by the package; an earlier test may have imported it."""

WATCHED = """
import sys
from export.__main__ import main
try:
    sys.exit(main(sys.argv[1:]))
finally:
    assert not {"tensorflow", "tf2onnx", "onnxruntime"} & sys.modules.keys()
"""


@pytest.mark.parametrize(
    ("arguments", "status", "answer"),
    [
        (["--help"], 0, "usage: python -m export [-h] --model DIR --out DIR [--name NAME] [--json FILE]"),
        ([], 2, "the following arguments are required: --model, --out"),
        (["--model", "a"], 2, "the following arguments are required: --out"),
        (["--model", "a", "--out", "b", "--fast"], 2, "unrecognized arguments: --fast"),
        (["--model", "a", "--out", "file"], 1, "error: cannot write below file: Not a directory. Change --out.\n"),
        (["--model", "a", "--out", "file/b"], 1, "error: cannot write below file: Not a directory. Change --out.\n"),
        (
            ["--model", "a", "--out", "b", "--json", "."],
            1,
            "error: cannot write .: it is a directory. Change --json.\n",
        ),
        (["--model", "a", "--out", "b", "--json", "c/d"], 1, "error: cannot write below c: No such file or directory"),
        (["--model", "a", "--out", "/proc/b"], 1, "error: cannot write below /proc: No such file or directory"),
    ],
)
def test_usage_needs_no_tensorflow(tmp_path, arguments, status, answer):
    (tmp_path / "file").touch()
    command = [sys.executable, "-c", WATCHED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, cwd=tmp_path)
    assert done.returncode == status, done.stderr
    assert answer in done.stdout + done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize("home", ["there", "missing"])
def test_onnx_runtime_leaves_nothing_at_home(tmp_path, home):
    (tmp_path / "there").mkdir()
    inherited = {name: value for name, value in os.environ.items() if name not in ("XDG_CACHE_HOME", TELEMETRY)}
    done = subprocess.run(
        [sys.executable, "-c", "import export, worker.scorer"],
        env={**inherited, "HOME": str(tmp_path / home)},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout + done.stderr == ""
    assert list(tmp_path.rglob("*")) == [tmp_path / "there"]
