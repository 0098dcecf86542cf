"""A private training, from its preset to a worker that answers: the promise travels with the model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from worker.bundle import load_bundle
from worker.files import write_file

pytestmark = pytest.mark.export

SMALL = ["data.records=1200", "data.clients=60", "data.min_count=1", "training.clients_per_round=20"]
EPSILON, DELTA, ROUNDS = 8.0, 1e-3, 3
SECRET = "5ec2e7" + 58 * "0"


class Trained(NamedTuple):
    logs: Path
    bundle: Path


def run(*words: object) -> str:
    done = subprocess.run([sys.executable, "-m", *map(str, words)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def private(tmp_path_factory):
    directory = tmp_path_factory.mktemp("private")
    settings = [word for setting in SMALL for word in ("--set", setting)]
    # A key that is known, because a run removes its own.
    write_file(directory / "key", SECRET.encode(), mode=0o600)
    promise = ["--rounds", ROUNDS, "--epsilon", EPSILON, "--delta", DELTA, "--noise-key", directory / "key"]
    run("federated", "train", "--preset", "private", "--out", directory / "model", *promise, *settings)
    printed = run("export", "--model", directory / "model", "--out", directory / "bundles")
    return Trained(directory / "model-logs", Path(printed.splitlines()[-1]))


def test_the_manifest_carries_the_whole_card(private):
    card = load_bundle(private.bundle).manifest.privacy
    assert (card.unit, card.relation, card.sampling) == ("client", "add or remove one client", "poisson")
    assert (card.epsilon, card.delta, card.rounds) == (EPSILON, DELTA, ROUNDS)
    assert 0.99 * EPSILON < card.epsilon_spent <= EPSILON
    assert (card.cohort, card.key) == (20, "reproducible simulation")
    ledger = json.loads((private.logs / "privacy" / "ledger.json").read_text())
    assert ledger["charged_rounds"] == ROUNDS
    assert ledger["plan"]["noise_multiplier"] == card.noise_multiplier
    assert ledger["plan"]["mechanism"]["clients"] == card.clients > 50


def test_the_card_names_everything_in_the_bundle_that_comes_from_clients(private):
    """Whatever a bundle gets in future has to be entered here, and on the card."""
    manifest = json.loads((private.bundle / "manifest.json").read_text())
    items = {item["name"]: item["status"] for item in manifest["privacy"]["released"]}
    about_the_file = {"schema_version", "name", "version", "created_at", "task", "files", "opset", "parity", "privacy"}
    on_the_card = {
        "graphs": "model weights",
        "labels": "labels",
        "golden": "golden records",
        "histograms": "histograms",
        "fields": "vocabulary",
        "attention": "configuration",
        "training": "held-out metrics",
    }
    assert set(manifest) == about_the_file | set(on_the_card)
    assert set(on_the_card.values()) <= set(items)
    assert items["model weights"] == "dp"


def test_the_noise_key_is_in_no_file_of_the_bundle_or_of_the_logs(private):
    for path in [*private.bundle.rglob("*"), *private.logs.rglob("*")]:
        assert path.is_dir() or not any(form in path.read_bytes() for form in (SECRET.encode(), bytes.fromhex(SECRET)))


def test_a_worker_loads_it_and_answers(private, tmp_path):
    events, answers = tmp_path / "events.jsonl", tmp_path / "answers.jsonl"
    events.write_text('{"text": "where is my parcel"}\n')
    run("worker", "score", "--bundle", private.bundle, "--input", events, "--output", answers)
    (answer,) = map(json.loads, answers.read_text().splitlines())
    manifest = load_bundle(private.bundle).manifest
    assert answer["model"]["version"] == manifest.version
    assert answer["output"]["label"] in manifest.labels
