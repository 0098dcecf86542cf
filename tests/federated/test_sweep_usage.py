"""What a sweep refuses before it trains anything."""

import pytest

from federated.__main__ import main

pytestmark = pytest.mark.fast


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--grid", "training.rounds=1,2"], "Add --set data.validation_clients=0.1"),
        (["--set", "data.validation_clients=0.1", "--grid", "training.ronuds=1,2"], "ronuds"),
        (["--set", "data.validation_clients=0.1", "--grid", "training.rounds=1,0"], "training.rounds"),
    ],
)
def test_what_cannot_work_is_refused_before_the_first_run(tmp_path, capsys, options, named):
    assert main(["sweep", "--preset", "demo", "--out", str(tmp_path / "sweep"), *options]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert named in error
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_exists_is_left_alone(tmp_path, capsys):
    options = ["--set", "data.validation_clients=0.1", "--grid", "training.rounds=1"]
    assert main(["sweep", "--preset", "demo", "--out", str(tmp_path), *options]) == 1
    assert "File exists" in capsys.readouterr().err


@pytest.mark.parametrize("grid", ["training.rounds", "=1", "training.rounds=1,", "training.rounds="])
def test_wrong_usage(grid):
    with pytest.raises(SystemExit, match="2"):
        main(["sweep", "--preset", "demo", "--out", "x", "--grid", grid])
