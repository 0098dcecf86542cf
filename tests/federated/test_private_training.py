"""Training with differential privacy, from the command line to what it leaves behind."""

import json
import stat
import subprocess
import sys
from types import SimpleNamespace

import msgspec
import pytest

from federated.__main__ import main
from worker.bundle import ModelCard

pytestmark = pytest.mark.train

ROUNDS = 40
DEADLINE_SECONDS = 240
WEIGHTS = "variables/variables.data-00000-of-00001"
PRIVATE = ["--epsilon", 6, "--delta", 1e-3, "--rounds", ROUNDS, "--set", "aggregation.clip=0.5"]
SMALL = ["--set", "model.encoder=simple_rnn", "--set", "training.clients_per_round=2"]


@pytest.fixture(scope="module")
def given_key(tmp_path_factory):
    path = tmp_path_factory.mktemp("keys") / "key"
    path.touch(0o600)
    path.write_text("5a" * 32)
    return path


@pytest.fixture(scope="module")
def run(train_command):
    """Trains with few, private rounds."""

    def start(*arguments, **options):
        command = train_command("--preset", "demo", *PRIVATE, *SMALL, *arguments)
        return subprocess.run(command, capture_output=True, text=True, check=False, **options)

    return start


@pytest.fixture(scope="module")
def repeated(tmp_path_factory, run, train_command, given_key, kill_after):
    """Two runs with the same noise key: one that was left alone, and one that was killed and resumed."""
    directory = tmp_path_factory.mktemp("private")
    outs = [directory / "one", directory / "two"]
    logs = [directory / f"{out.name}-logs" for out in outs]
    whole = run("--noise-key", given_key, "--out", outs[0])
    assert whole.returncode == 0, whole.stderr
    words = ["--preset", "demo", *PRIVATE, *SMALL, "--noise-key", given_key, "--out", outs[1]]
    charged = kill_in_a_round(kill_after, train_command(*words), logs[1])
    command = [sys.executable, "-m", "federated", "resume", str(logs[1])]
    resumed = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE_SECONDS)
    assert resumed.returncode == 0, resumed.stderr
    return SimpleNamespace(outs=outs, logs=logs, printed=whole.stderr + resumed.stderr, charged=charged)


def kill_in_a_round(kill_after, command, logs) -> int:
    """Ends a training with SIGKILL when it has some rounds behind it; returns how many were charged."""
    records = logs / "rounds.jsonl"
    kill_after(3, command, records)
    charged = read_ledger(logs)["charged_rounds"]
    assert records.read_bytes().count(b"\n") <= charged < ROUNDS, "it was not killed in the middle"
    assert stat.S_IMODE((logs / "privacy" / "noise.key").stat().st_mode) == 0o600
    return charged


def read_ledger(logs):
    return json.loads((logs / "privacy" / "ledger.json").read_text())


def read_card(out):
    return msgspec.json.decode((out / "assets.extra" / "model.json").read_bytes(), type=ModelCard).privacy


def test_the_card_of_the_model_says_what_was_kept(repeated):
    card = read_card(repeated.outs[0])
    assert (card.epsilon, card.delta, card.rounds, card.cohort) == (6.0, 1e-3, ROUNDS, 2)
    assert 5.9 < card.epsilon_spent <= 6.0
    assert card.clip == 0.5
    assert card.key == "reproducible simulation"
    assert {item.status for item in card.released} == {"dp", "public", "not covered"}


def test_every_round_is_charged_once_whether_or_not_it_was_run_again(repeated):
    assert 3 <= repeated.charged < ROUNDS
    assert [read_ledger(logs)["charged_rounds"] for logs in repeated.logs] == [ROUNDS, ROUNDS]


def test_records_name_no_client_and_tell_what_is_spent(repeated):
    records = [json.loads(line) for line in (repeated.logs[0] / "rounds.jsonl").read_text().splitlines()]
    assert [record["clients"] for record in records] == [[]] * ROUNDS
    spent = [record["train"]["epsilon"] for record in records]
    assert spent == sorted(spent)
    assert spent[-1] == read_card(repeated.outs[0]).epsilon_spent


def test_killed_and_resumed_it_ends_bit_for_bit_the_same(repeated):
    """The noise is most of what this model is made of."""
    one, two = ((out / WEIGHTS).read_bytes() for out in repeated.outs)
    assert one == two


def test_the_key_is_in_no_file_of_a_finished_run_and_no_output(repeated, given_key):
    secret = given_key.read_text()
    for logs in repeated.logs:
        assert main(["report", str(logs), "--html", str(logs / "report.html"), "--csv", str(logs / "rounds.csv")]) == 0
    for directory in (*repeated.outs, *repeated.logs):
        for path in (path for path in directory.rglob("*") if path.is_file()):
            assert secret.encode() not in path.read_bytes(), path
            assert path.name != "noise.key"
    assert secret not in repeated.printed


def test_a_second_run_may_not_spend_from_the_same_ledger(repeated, run, tmp_path):
    before = (repeated.logs[0] / "privacy" / "ledger.json").read_bytes()
    done = run("--out", tmp_path / "model", "--log-dir", repeated.logs[0])
    assert done.returncode == 1
    assert "holds another run's ledger" in done.stderr.splitlines()[-1]
    assert (repeated.logs[0] / "privacy" / "ledger.json").read_bytes() == before
    assert not (tmp_path / "model").exists()


def test_without_a_given_key_two_runs_differ(repeated, run, tmp_path):
    done = run("--out", tmp_path / "model")
    assert done.returncode == 0, done.stderr
    assert read_card(tmp_path / "model").key == "secret"
    assert (tmp_path / "model" / WEIGHTS).read_bytes() != (repeated.outs[0] / WEIGHTS).read_bytes()
