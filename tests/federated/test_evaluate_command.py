"""Judging a finished run, opening its test set, explaining its answers, and choosing among several."""

import csv
import io
import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from federated.commands.explain import explain

pytestmark = pytest.mark.train

DEADLINE_SECONDS = 240


def federated(*words, text=""):
    command = [sys.executable, "-m", "federated", *map(str, words)]
    return subprocess.run(command, input=text, capture_output=True, text=True, timeout=DEADLINE_SECONDS, check=False)


@pytest.fixture(scope="module")
def sealed(tmp_path_factory, train_command):
    """A run with a test set."""
    directory = tmp_path_factory.mktemp("sealed")
    settings = ["--set", "data.test_fraction=0.2", "--set", "data.validation_clients=0.3"]
    command = train_command("--preset", "demo", "--rounds", 2, *settings, "--out", directory / "model")
    subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE_SECONDS)
    return SimpleNamespace(model=directory / "model", logs=directory / "model-logs")


def test_without_final_the_test_set_stays_closed(sealed):
    finished = federated("evaluate", sealed.logs)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith("held out: accuracy ")
    assert "validation_accuracy" in finished.stdout
    assert "test: " not in finished.stdout
    assert not (sealed.logs / "test_opened.jsonl").exists()


def test_the_figures_are_those_of_the_last_round(sealed):
    last = json.loads((sealed.logs / "rounds.jsonl").read_text().splitlines()[-1])["heldout"]
    path = sealed.logs / "figures.json"
    federated("evaluate", sealed.logs, "--json", path)
    assert json.loads(path.read_text())["held out"] == pytest.approx(last, rel=1e-6)


def test_every_opening_of_the_test_set_is_recorded(sealed):
    first, second = (federated("evaluate", sealed.logs, "--final") for _ in range(2))
    assert "test set of 120 examples, opened 0 times before" in first.stderr
    assert "opened 1 times before" in second.stderr
    assert "\ntest: accuracy " in first.stdout
    openings = [json.loads(line) for line in (sealed.logs / "test_opened.jsonl").read_text().splitlines()]
    assert [opening["examples"] for opening in openings] == [120, 120]
    assert openings[0]["metrics"] == openings[1]["metrics"]


def test_a_run_without_a_test_set_has_none_to_open(trained):
    finished = federated("evaluate", trained.logs, "--final")
    assert finished.returncode == 1
    assert "kept no test set. Train with --set data.test_fraction=0.1." in finished.stderr


def test_a_model_that_is_gone_is_named(tmp_path, trained):
    finished = federated("explain", "--model", tmp_path / "model", "a text")
    assert finished.returncode == 1
    assert finished.stderr.startswith(f"error: {tmp_path}/model is no trained model: No such file or directory.")


def test_an_answer_is_explained_token_by_token(trained):
    finished = federated("explain", "--model", trained.out, text="It broke.\n坏了\n")
    assert finished.returncode == 0, finished.stderr
    lines = finished.stdout.splitlines()
    assert [line.split()[-1] for line in lines] == [
        lines[0].split()[-1],
        "It",
        "broke",
        ".",
        lines[4].split()[-1],
        "坏",
        "了",
    ]
    assert sum(float(line.split()[0]) for line in lines[1:4]) == pytest.approx(1, abs=0.002)


def test_a_text_that_shows_nothing_is_refused(trained):
    finished = federated("explain", "--model", trained.out, " ")
    assert finished.returncode == 1
    assert "text 1: the text has no visible character" in finished.stderr


def test_a_model_without_attention_is_explained_by_its_labels():
    assert explain(["a"], np.array([0.25, 0.75]), None, ["x", "y"]) == "y 0.750  x 0.250"


def test_a_sweep_chooses_by_clients_that_never_train(tmp_path, train_command):
    *_, first = [train_command()]
    small = first[first.index("--set") :]
    finished = federated(
        *("sweep", "--preset", "demo", "--out", tmp_path / "sweep", "--set", "data.validation_clients=0.3", *small),
        *("--grid", "training.client_learning_rate=1e-6,1.0,1e38", "--", "--rounds", 3),
    )
    assert finished.returncode == 0, finished.stderr
    rows = list(csv.DictReader(io.StringIO(finished.stdout)))
    assert sorted(row["run"] for row in rows) == ["run-001", "run-002", "run-003"]
    assert rows[-1] == {
        "training.client_learning_rate": "1e38",
        "run": "run-003",
        "validation_accuracy": "failed",
        "validation_loss": "",
    }
    assert float(rows[0]["validation_accuracy"]) >= float(rows[1]["validation_accuracy"])
    assert (tmp_path / "sweep" / "sweep.csv").read_text() == finished.stdout
    assert (tmp_path / "sweep" / rows[0]["run"]).is_dir()
