"""The bundle of a bidirectional LSTM: what is in it, what it promises, and what happens when someone changes it."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from worker.bundle import load_bundle
from worker.errors import BundleDigestError
from worker.features import TextEncoder
from worker.scorer import OnnxScorer

pytestmark = pytest.mark.export


@pytest.fixture(scope="module")
def model(save_model):
    return save_model("lstm", bidirectional=True)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    """A bundle that no test changes."""
    from export.exporter import export_model

    return export_model(model, tmp_path_factory.mktemp("bundles"), report=lambda step, outcome: None)


@pytest.fixture(scope="module")
def bundle(exported):
    return load_bundle(Path(exported.bundle))


def test_manifest_says_what_the_card_and_the_export_know(bundle, exported, card):
    manifest = bundle.manifest
    for field in ("name", "task", "fields", "attention", "labels", "training", "privacy"):
        assert getattr(manifest, field) == getattr(card, field)
    assert sorted(manifest.files) == ["golden.jsonl", "model.onnx", "vocabulary.txt"]
    assert (manifest.opset, manifest.version) == (17, exported.version)
    assert (manifest.parity.max_abs_diff, manifest.parity.probes) == (exported.max_abs_diff, exported.probes)
    assert manifest.parity.max_abs_diff <= 1e-6
    assert manifest.parity.probes > 100


def test_golden_records_hold_for_the_worker(bundle, card):
    """A worker encodes the event and scores it alone; the answer is the golden one."""
    field = bundle.manifest.fields[0]
    encoder = TextEncoder(bundle.vocabulary(field), max_tokens=field.max_tokens)
    scorer = OnnxScorer(bundle)
    records = bundle.golden_records()
    assert len(records) == 16
    lengths = [len(encoder.encode(record.event["text"]).ids) for record in records]
    assert (min(lengths), max(lengths)) == (1, field.max_tokens)
    for record in records:
        scores = scorer.score(np.array([encoder.encode(record.event["text"]).ids], np.int32))
        np.testing.assert_allclose(scores.probabilities[0], record.probabilities, rtol=0, atol=1e-6)
        np.testing.assert_allclose(scores.attention["tokens"][0], record.attention["tokens"], rtol=0, atol=1e-6)


def test_histograms_count_the_reference_texts(bundle):
    histograms = bundle.manifest.histograms
    assert sorted(histograms) == ["label", "score", "tokens", "unknown_share"]
    assert {sum(histogram.counts) for histogram in histograms.values()} == {40}
    # 40 texts of 1 to 40 words, cut at 24: from the 24th on all are as long as a text can be.
    assert histograms["tokens"].counts[-1] == 17
    assert histograms["unknown_share"].counts[0] < 40


def test_same_model_in_another_process_is_the_same_bundle(model, exported, tmp_path):
    """Another hash seed walks tf2onnx's sets in another order. This is also the command line as a user types it."""
    bundle = Path(exported.bundle)
    written = (bundle / "manifest.json").stat().st_mtime_ns
    command = [sys.executable, "-m", "export", "--model", str(model), "--out", str(bundle.parent.parent)]
    done = subprocess.run(
        [*command, "--json", str(tmp_path / "done.json")], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stderr == ""
    *steps, path = done.stdout.splitlines()
    assert [step.split()[0] for step in steps] == ["converted", "parity", "written"]
    # The version is a digest of every byte: the same directory means the same bytes. It was found and left alone.
    assert path == exported.bundle
    assert [entry.name for entry in bundle.parent.iterdir()] == [exported.version]
    assert (bundle / "manifest.json").stat().st_mtime_ns == written
    summary = json.loads((tmp_path / "done.json").read_text())
    assert summary.pop("seconds") > 0
    assert summary == {
        "bundle": path,
        "name": "messages",
        "version": exported.version,
        "max_abs_diff": exported.max_abs_diff,
        "probes": exported.probes,
        "opset": 17,
    }


@pytest.mark.parametrize("name", ["model.onnx", "vocabulary.txt", "golden.jsonl", "manifest.json"])
def test_changed_bundle_is_refused(exported, tmp_path, name):
    copy = tmp_path / "copy"
    copy.mkdir()
    for file in Path(exported.bundle).iterdir():
        data = file.read_bytes()
        if file.name == name:
            # One byte of a weight or of a text; in the manifest, a digit of the recorded difference.
            data = data.replace(b'"probes": ', b'"probes": 9') if name == "manifest.json" else b"\x00" + data[1:]
        (copy / file.name).write_bytes(data)
    with pytest.raises(BundleDigestError, match=name):
        load_bundle(copy)
