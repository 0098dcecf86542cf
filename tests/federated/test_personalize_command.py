"""`python -m federated personalize`, on clients who do not mean the same by a word: one model cannot serve them all."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest

pytestmark = pytest.mark.train

DEADLINE_SECONDS = 240
CLIENTS = 6
WORDS = ["red", "green", "blue", "white"]


def federated(*words):
    command = [sys.executable, "-m", "federated", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, train_command):
    """A run of Ditto, half of whose clients call good what the others call bad."""
    directory = tmp_path_factory.mktemp("opposites")
    rows = [
        {"text": f"{word} {WORDS[n % 4]}", "label": "good" if (word in WORDS[:2]) == (client % 2 == 0) else "bad"}
        | {"client": f"client {client}"}
        for client in range(CLIENTS)
        for n in range(12)
        for word in WORDS
    ]
    (directory / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = train_command(
        *("--preset", "reviews", "--data", directory / "rows.jsonl", "--text-field", "text", "--label-field", "label"),
        *("--client-field", "client", "--rounds", 15, "--set", "training.algorithm=ditto"),
        *("--set", "training.local_epochs=5", "--set", "training.client_learning_rate=0.5"),
        *("--set", "data.min_count=1", "--set", "model.encoder=simple_rnn", "--out", directory / "model"),
    )
    run = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)
    assert run.returncode == 0, run.stderr
    return SimpleNamespace(model=directory / "model", logs=directory / "model-logs")


@pytest.fixture(scope="module")
def personalized(finished):
    path = finished.logs / "figures.json"
    run = federated("personalize", finished.logs, "--epochs", 60, "--rate", 0.5, "--json", path)
    assert run.returncode == 0, run.stderr
    assert json.loads((finished.logs / "personal.json").read_text()) == json.loads(path.read_text())
    return SimpleNamespace(stdout=run.stdout, figures=json.loads(path.read_text()))


@pytest.mark.parametrize("name", ["fine-tuned (60 epochs, rate 0.5)", "Ditto"])
def test_a_model_of_its_own_serves_each_client(personalized, name):
    comparison = personalized.figures[name]
    assert comparison["clients"] == CLIENTS
    assert comparison["shared"]["accuracy"] < 0.8
    assert comparison["personal"]["accuracy"] > 0.9
    assert comparison["better"] >= CLIENTS // 2
    assert comparison["mean_gain"] > 0.2
    assert f"{name}: of {CLIENTS} clients" in personalized.stdout


def test_the_page_of_the_run_shows_it(finished, personalized):
    page = finished.logs / "report.html"
    assert federated("report", finished.logs, "--html", page).returncode == 0
    assert "Models of single clients" in page.read_text()
    assert "Ditto, own models" in page.read_text()


def test_the_models_of_clients_are_for_their_owner_alone(finished):
    paths = list((finished.logs / "clients").iterdir())
    assert len(paths) == CLIENTS
    assert not [path for path in paths if path.stat().st_mode & 0o077]


def test_the_shared_model_is_left_as_it_was(finished, personalized):
    held_out = federated("evaluate", finished.logs).stdout
    accuracy = personalized.figures["Ditto"]["shared"]["accuracy"]
    assert held_out.startswith(f"held out: accuracy {accuracy:.4g},")


def test_fine_tuning_that_diverges_says_so(finished):
    run = federated("personalize", finished.logs, "--rate", 1e38)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1].startswith("error: a client's own model diverged: ")
    assert "Lower --rate or --epochs." in run.stderr


def test_a_client_model_that_is_damaged_is_named(finished, tmp_path):
    logs = tmp_path / "logs"
    shutil.copytree(finished.logs, logs)
    path = sorted((logs / "clients").iterdir())[0]
    path.write_bytes(path.read_bytes()[:-1])
    run = federated("personalize", logs)
    assert run.returncode == 1
    assert f"the checkpoint {path} is truncated or damaged" in run.stderr
