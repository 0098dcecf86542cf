"""`worker bench` as it is typed: what it refuses before it measures anything, and what it measures without brokers."""

from pathlib import Path

import pytest
from harness.model import write_model

from worker.__main__ import main
from worker.bench.assignment import Assignment
from worker.bench.errors import BenchError
from worker.bench.memory import build_memory
from worker.bench.model import build_ceiling
from worker.settings import Settings

pytestmark = pytest.mark.fast


def assign(bundle: Path) -> Assignment:
    return Assignment(Settings(bundle=bundle, slice_records=50), records=120, partitions=2, seed=1)


def test_the_model_alone_is_faster_than_the_worker_around_it(lstm_bundle: Path) -> None:
    alone, around = build_ceiling(assign(lstm_bundle)), build_memory(assign(lstm_bundle))
    rates = [(alone(None), around(None)) for _ in range(3)]
    assert max(rate for rate, _ in rates) > max(rate for _, rate in rates) > 0


def test_without_brokers_it_says_how_to_start_one(
    lstm_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("LIMELIGHT_BOOTSTRAP_SERVERS", raising=False)
    assert main(["bench", "--bundle", str(lstm_bundle)]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert error.startswith("error: these layers need brokers. Start one that nobody else uses, python -m deploy.local")


@pytest.mark.parametrize("option", ["--json", "--csv", "--markdown", "--chart"])
def test_a_file_that_cannot_be_written_is_refused_before_anything_runs(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["bench", "--layers", "model", option, str(tmp_path / "nowhere" / "file")]) == 1
    assert "there is no directory" in capsys.readouterr().err


def test_without_a_bundle_nothing_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", "--layers", "model"]) == 1
    assert "LIMELIGHT_BUNDLE is not set" in capsys.readouterr().err


def test_a_peer_that_is_no_program_is_refused(lstm_bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "--bundle",
        str(lstm_bundle),
        "--bootstrap-servers",
        "127.0.0.1:1",
        "--peer",
        "no-such -x",
    ]
    assert main(["bench", *arguments]) == 1
    assert "error: --peer no-such: there is no such program." in capsys.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ["--layers", "everything"],
        ["--clients", "pulsar"],
        ["--records", "0"],
        ["--repetitions", "-1"],
        ["--seed", "-1"],
        ["--latency-seconds", "1"],
        ["--latency-seconds", "nan"],
        ["--peer", "'"],
    ],
)
def test_wrong_usage_is_told_by_argparse(wrong: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bench", *wrong])
    assert ended.value.code == 2
    assert f"argument {wrong[0]}" in capsys.readouterr().err


def test_events_that_the_model_refuses_are_no_rate(tmp_path: Path) -> None:
    # One of its words has an embedding that is not a number.
    with pytest.raises(BenchError, match=r"answered \d+ of 120 events, and refused the others"):
        build_memory(assign(write_model(tmp_path)))(None)
