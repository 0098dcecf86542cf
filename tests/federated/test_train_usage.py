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


FILE = ["--data", "reviews.csv", "--text-field", "review", "--label-field", "label"]


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--preset", "nope"], ["'nope'", "demo", "example", "reviews"]),
        (["--preset", "demo", "--set", "training.ronuds=3"], ["ronuds"]),
        (["--preset", "demo", "--set", "training.rounds"], ["key=value"]),
        (["--preset", "demo", "--seed", "-1"], ["seed"]),
        (["--preset", "demo", "--data", "reviews.csv"], ["--text-field", "--label-field"]),
        (["--preset", "demo", "--text-field", "review"], ["--text-field", "no --data"]),
        (["--preset", "demo", "--client-field", "owner"], ["--client-field", "no --data"]),
        (["--preset", "reviews"], ["reviews", "--data"]),
        (["--preset", "reviews", *FILE[:-1], "verdict"], ["verdict", "reviews.csv"]),
        (["--preset", "reviews", "--data", "nowhere.csv", *FILE[2:]], ["nowhere.csv"]),
        (["--preset", "demo", *FILE], ["name no client"]),
        (["--preset", "reviews", *FILE, "--client-field", "owner"], ["'owner'"]),
    ],
)
def test_what_cannot_work_is_refused_by_name(refuse, arguments, named):
    line = refuse(*arguments, "--out", "model")
    assert all(word in line for word in named), line


def test_a_model_that_exists_is_not_overwritten(refuse, tmp_path):
    (tmp_path / "model").mkdir()
    assert "model exists already" in refuse("--preset", "demo", "--out", "model")


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--out", "reviews.csv/model"], ["cannot make reviews.csv", "--out"]),
        (["--out", "model", "--json", "nowhere/figures.json"], ["nowhere/figures.json", "--json"]),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_training(refuse, arguments, named):
    line = refuse("--preset", "demo", *arguments)
    assert all(word in line for word in named), line


@pytest.mark.parametrize("rounds", ["0", "-3", "many"])
def test_rounds_have_to_be_at_least_one(rounds, capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["train", "--preset", "demo", "--out", "model", "--rounds", rounds])
    assert "--rounds" in capsys.readouterr().err


def test_the_help_names_the_presets(capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["train", "--help"])
    assert "demo, example, reviews" in capsys.readouterr().out


def test_refusing_does_not_wait_for_tensorflow(tmp_path):
    script = (
        "import sys; from federated.__main__ import main; main(sys.argv[1:]);"
        "print([name for name in ('tensorflow', 'tensorflow_federated') if name in sys.modules])"
    )
    command = [sys.executable, "-c", script, "train", "--preset", "demo", "--out", str(tmp_path)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout == "[]\n"
