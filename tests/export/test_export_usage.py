"""What is answered before TensorFlow is loaded."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.fast

WATCHED = """
import sys
from export.__main__ import main
try:
    main(sys.argv[1:])
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
    ],
)
def test_usage_needs_no_tensorflow(arguments, status, answer):
    command = [sys.executable, "-c", WATCHED, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == status, done.stderr
    assert answer in done.stdout + done.stderr
