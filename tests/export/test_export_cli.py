"""Names, notes and files of the command line. Bundles and refusals have files of their own."""

import json
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from export.__main__ import main
from worker.bundle import load_bundle

pytestmark = pytest.mark.export


def test_slow_encoder_is_said_on_stderr_and_exported(save_model, tmp_path, capsys):
    """The article's small classifier: Embedding -> SimpleRNN -> softmax, without attention."""
    model = save_model("simple_rnn", attention=False)
    assert main(["--model", str(model), "--out", str(tmp_path), "--name", "small.1"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "note       the encoder became an ONNX Loop, which is exact but slow for small batches\n"
    manifest = load_bundle(Path(captured.out.splitlines()[-1])).manifest
    assert manifest.name == "small.1"
    assert manifest.attention == []
    assert manifest.parity.max_abs_diff <= 1e-6


def test_json_that_fills_the_disk_names_the_bundle(save_model, tmp_path, capsys):
    model = save_model("simple_rnn", attention=False)
    assert main(["--model", str(model), "--out", str(tmp_path / "out"), "--json", "/dev/full"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: cannot write /dev/full: No space left on device. The bundle is at ")
    load_bundle(Path(error.rsplit(" ", 1)[1]))


@pytest.mark.parametrize(
    ("redirection", "status", "message"),
    [
        ("> /dev/full", 1, "error: cannot write standard output: No space left on device.\n"),
        ("| true; exit ${PIPESTATUS[0]}", 128 + signal.SIGPIPE, ""),
    ],
)
def test_a_standard_output_that_takes_nothing(save_model, tmp_path, redirection, status, message):
    program = [sys.executable, "-m", "export", "--model", str(save_model("gru")), "--out", str(tmp_path / "out")]
    command = ["bash", "-c", f"{shlex.join(program)} {redirection}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (status, message)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_export_that_is_stopped_leaves_nothing_behind(save_model, tmp_path, number):
    """A shell starts background jobs with SIGINT ignored, and children inherit that: the code undoes it."""
    code = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from export.__main__ import main; "
    arguments = ["--model", str(save_model("gru")), "--out", str(tmp_path / "out")]
    command = [sys.executable, "-c", f"{code}raise SystemExit(main())", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        # Parity is next, which takes long enough.
        assert process.stdout.readline().startswith("converted")
        process.send_signal(number)
        _, error = process.communicate(timeout=120)
    assert (process.returncode, error) == (128 + number, "")
    assert list(tmp_path.iterdir()) == []


def test_json_replaces_an_older_one(save_model, tmp_path):
    report = tmp_path / "done.json"
    report.write_text("old")
    model = save_model("simple_rnn", attention=False)
    assert main(["--model", str(model), "--out", str(tmp_path / "out"), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["name"] == "messages"
