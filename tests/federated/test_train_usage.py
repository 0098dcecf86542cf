"""What `train` refuses before it loads TensorFlow: quickly, in one line, with nothing written."""

import subprocess
import sys

import pytest

from federated.__main__ import main

pytestmark = pytest.mark.fast


@pytest.fixture
def refuse(tmp_path, monkeypatch, capsys):
    """Runs `train` in an empty directory and returns its one line on standard error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "reviews.csv").write_text("review,label\n" + 20 * "好吃,1\n难吃,0\n")

    def run(*arguments: str) -> str:
        before = sorted(tmp_path.rglob("*"))
        assert main(["train", *arguments]) == 1
        assert sorted(tmp_path.rglob("*")) == before
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        return printed.err

    return run


CLIPPED = ["--set", "aggregation.clip=1"]
PATIENT = ["--set", "training.patience=2", "--set", "data.validation_clients=0.1"]
FILE = ["--data", "reviews.csv", "--text-field", "review", "--label-field", "label"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--preset", "nope"], ["'nope'", "demo", "example", "reviews"]),
        (["--preset", "demo", "--set", "training.ronuds=3"], ["ronuds"]),
        (["--preset", "demo", "--set", "training.rounds"], ["key=value"]),
        (["--preset", "demo", "--seed", "-1"], ["seed"]),
        (["--preset", "demo", "--set", "preset=example"], ["preset", "--preset"]),
        (["--preset", "demo", "--set", "model.name=a/b"], ["model.name"]),
        (["--preset", "demo", "--rounds", "2", "--set", "training.rounds=3"], ["--rounds", "training.rounds"]),
        (
            ["--preset", "reviews", *FILE, "--client-field", "label", "--set", "data.partition.by=iid"],
            ["--client-field", "data.partition.by", "iid"],
        ),
        (["--preset", "reviews", *FILE, "--set", "data.min_count=1000"], ["1000", "data.min_count"]),
        (["--preset", "demo", "--data", "reviews.csv"], ["--text-field", "--label-field"]),
        (["--preset", "demo", "--text-field", "review"], ["--text-field", "no --data"]),
        (["--preset", "demo", "--client-field", "owner"], ["--client-field", "no --data"]),
        (["--preset", "reviews"], ["reviews", "--data"]),
        (["--preset", "reviews", *FILE[:-1], "verdict"], ["verdict", "reviews.csv"]),
        (["--preset", "reviews", "--data", "nowhere.csv", *FILE[2:]], ["nowhere.csv"]),
        (["--preset", "demo", *FILE], ["name no client"]),
        (["--preset", "reviews", *FILE, "--client-field", "owner"], ["'owner'"]),
        (["--preset", "demo", "--epsilon", "8"], ["differential privacy", "no clipping", "[aggregation]"]),
        (["--preset", "demo", "--epsilon", "-1"], ["privacy.epsilon"]),
        (["--preset", "demo", "--epsilon", "8", "--delta", "1"], ["privacy.delta"]),
        (["--preset", "demo", "--epsilon", "0"], ["--epsilon 0", "leave --epsilon out", "--set privacy.epsilon=0"]),
        (["--preset", "private", "--epsilon", "0.0"], ["--epsilon 0"]),
        (["--preset", "demo", "--delta", "1e-5"], ["[privacy]", "no privacy.epsilon", "--epsilon"]),
        (["--preset", "demo", "--set", "privacy.sampling=poisson"], ["[privacy]", "no privacy.epsilon"]),
        (["--preset", "private", "--set", "privacy.epsilon=0", "--delta", "1e-6"], ["--delta", "--epsilon"]),
        (["--preset", "demo", "--noise-key", "key"], ["--noise-key", "--epsilon"]),
        (
            ["--preset", "demo", *CLIPPED, "--set", "training.algorithm=scaffold"],
            ["scaffold", "[aggregation]", "fedavg or fedsgd"],
        ),
        (
            ["--preset", "demo", "--epsilon", "8", *CLIPPED, "--set", "availability.available=0.5"],
            ["[availability]", "differential privacy", "no random sample"],
        ),
        (
            ["--preset", "demo", "--epsilon", "8", *CLIPPED, *PATIENT],
            ["training.patience", "differential privacy"],
        ),
        (
            ["--preset", "demo", "--set", "aggregation.secure_sum=true", "--set", "aggregation.combine=median"],
            ["secure sum", "robust mean"],
        ),
        (
            ["--preset", "demo", "--set", "aggregation.combine=krum", "--set", "training.clients_per_round=2"],
            ["krum", "at least 3 clients", "training.clients_per_round"],
        ),
    ],
)
def test_what_cannot_work_is_refused_by_name(refuse, arguments, named):
    line = refuse(*arguments, "--out", "model")
    assert all(word in line for word in named), line


def test_a_model_that_exists_is_not_overwritten(refuse, tmp_path):
    (tmp_path / "model").mkdir()
    assert "model exists already" in refuse("--preset", "demo", "--out", "model")


LONG = 250 * "x"
"""A name that fits, but not with what a temporary file adds to it."""


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--out", "reviews.csv/model"], ["reviews.csv/model", "Not a directory", "--out"]),
        (["--out", "missing/.."], ["exists already", "--out"]),
        (["--out", "nowhere"], ["exists already", "--out"]),
        (["--out", LONG], [LONG, "File name too long", "--out"]),
        (["--out", f"{LONG * 2}/model"], ["File name too long", "--out"]),
        (["--log-dir", "reviews.csv"], ["reviews.csv", "Not a directory", "--log-dir"]),
        (["--log-dir", "model"], ["model", "--log-dir"]),
        (["--log-dir", "model/logs"], ["model", "--log-dir"]),
        (["--log-dir", "logs"], ["logs/rounds.jsonl", "is a directory", "--log-dir"]),
        (["--log-dir", "broken"], ["broken/tensorboard", "Not a directory", "--log-dir"]),
        (["--json", "nowhere/figures.json"], ["nowhere/figures.json", "no directory"]),
        (["--json", "logs"], ["logs", "is a directory", "--json"]),
        (["--json", "/"], ["/", "is a directory", "--json"]),
        (["--json", "./reviews.csv", *FILE], ["reviews.csv", "something else", "--json"]),
        (["--json", f"{LONG}.json"], ["File name too long", "--json"]),
        (["--json", "model"], ["model", "something else", "--json"]),
        (["--json", "model-logs"], ["model-logs", "something else", "--json"]),
        (["--json", "old/rounds.jsonl", "--log-dir", "./old/../old"], ["something else", "--json"]),
        (["--json", "/proc/figures.json"], ["/proc", "--json"]),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_training(refuse, tmp_path, arguments, named):
    (tmp_path / "logs" / "rounds.jsonl").mkdir(parents=True)
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "tensorboard").touch()
    (tmp_path / "old").mkdir()
    (tmp_path / "nowhere").symlink_to("missing")
    line = refuse("--preset", "demo", "--out", "model", *arguments)
    assert all(word in line for word in named), line


def test_what_is_refused_makes_no_directories(refuse, tmp_path):
    refuse("--preset", "demo", "--text-field", "review", "--out", "new/model", "--log-dir", "new/logs")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("rounds", ["0", "-3", "many"])
def test_rounds_have_to_be_at_least_one(rounds, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--preset", "demo", "--out", "model", "--rounds", rounds])
    assert "--rounds" in capsys.readouterr().err


def test_the_help_names_the_presets(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    assert "demo, example, plays, private, reviews" in capsys.readouterr().out


def test_refusing_does_not_wait_for_tensorflow(tmp_path):
    script = (
        "import sys; from federated.__main__ import main; main(sys.argv[1:]);"
        "print([name for name in ('tensorflow', 'tensorflow_federated') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, "train", "--preset", "demo", "--out", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--delta", "0.02"], "delta 0.02 is not below 1 / 50 clients"),
        (["--set", "training.clients_per_round=51"], "a cohort of 51 cannot be chosen from 50 clients"),
        (["--noise-key", "nowhere"], "cannot read the noise key nowhere"),
    ],
)
def test_privacy_that_cannot_be_promised_is_refused(tmp_path, monkeypatch, capsys, arguments, named):
    """Only with the clients counted; nothing of the run is left behind."""
    monkeypatch.chdir(tmp_path)
    private = ["--epsilon", "6", "--delta", "1e-3", "--rounds", "4", "--set", "aggregation.clip=1"]
    small = ["--set", "data.records=600", "--out", "model"]
    assert main(["train", "--preset", "demo", *private, *small, *arguments]) == 1
    assert named in capsys.readouterr().err.splitlines()[-1]
    assert not list(tmp_path.iterdir())
