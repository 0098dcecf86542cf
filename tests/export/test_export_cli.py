"""Names, notes and files of the command line. Bundles and refusals have files of their own."""

import json
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


def test_json_that_cannot_be_written_names_the_bundle(save_model, tmp_path, capsys):
    model = save_model("simple_rnn", attention=False)
    report = tmp_path / "missing" / "done.json"
    assert main(["--model", str(model), "--out", str(tmp_path / "out"), "--json", str(report)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith(f"error: {report} cannot be written: No such file or directory. The bundle is at ")
    load_bundle(Path(error.rsplit(" ", 1)[1].rstrip(".")))


def test_json_replaces_an_older_one(save_model, tmp_path):
    report = tmp_path / "done.json"
    report.write_text("old")
    model = save_model("simple_rnn", attention=False)
    assert main(["--model", str(model), "--out", str(tmp_path / "out"), "--json", str(report)]) == 0
    assert json.loads(report.read_text())["name"] == "messages"
