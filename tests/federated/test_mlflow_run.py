"""Rounds in MLflow's own store, in files: a server keeps them elsewhere and takes the same calls."""

import contextlib
import shutil

import pytest
from msgspec import UNSET

from federated.commands import running
from federated.config import load_config
from federated.errors import OutputError
from federated.mlflow_run import open_mlflow
from federated.run_directory import RunFile
from worker.messages import RoundRecord

pytestmark = pytest.mark.train


def record(number, *, loss=0.5):
    return RoundRecord(
        run="run-1",
        round=number,
        rounds=9,
        timestamp_ms=number,
        seconds=1.0,
        clients=[41],
        examples=2,
        train={"loss": loss},
        heldout={"accuracy": 0.8, "recall.what? 好": 0.7} if number % 2 else UNSET,
    )


@pytest.fixture
def file(tmp_path):
    config = load_config("demo", {"training.rounds": 9})
    return RunFile(run="run-1", config=config, out=str(tmp_path / "model"), environment={"machine": "x86_64"})


@pytest.fixture
def uri(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    return (tmp_path / "runs").as_uri()


@pytest.fixture
def runs(uri):
    """Reads the runs of the experiment."""
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    return lambda: client.search_runs([client.get_experiment_by_name("limelight").experiment_id])


@pytest.fixture
def history(uri, runs):
    """Reads the points of a figure of the only run: round and value."""
    from mlflow import MlflowClient

    def read(name):
        (run,) = runs()
        return [(point.step, point.value) for point in MlflowClient(uri).get_metric_history(run.info.run_id, name)]

    return read


def test_settings_and_rounds_are_there(uri, file, runs, history):
    with open_mlflow(uri, file) as send:
        send(record(1))
        send(record(2, loss=0.25))
        (run,) = runs()
        assert run.info.status == "RUNNING"
    (run,) = runs()
    assert (run.info.status, run.info.run_name) == ("FINISHED", "run-1")
    assert run.data.params["training.rounds"] == "9"
    assert run.data.params["model.encoder"] == file.config.model.encoder
    assert run.data.tags["environment/machine"] == "x86_64"
    assert history("train/loss") == [(1, 0.5), (2, 0.25)]
    assert history("heldout/accuracy") == [(1, 0.8)]
    assert history("heldout/recall.what_ 好") == [(1, 0.7)]


def test_a_run_that_is_resumed_goes_on_in_the_same_one(uri, file, runs, history):
    with contextlib.suppress(KeyboardInterrupt), open_mlflow(uri, file) as send:
        for number in (1, 2, 3):
            send(record(number))
        raise KeyboardInterrupt
    assert [run.info.status for run in runs()] == ["KILLED"]
    with open_mlflow(uri, file) as send:
        # Its checkpoint was that of round 1.
        for number in (2, 3, 4):
            send(record(number))
    assert [run.info.status for run in runs()] == ["FINISHED"]
    assert history("seconds") == [(1, 1), (2, 1), (3, 1), (4, 1)]


def test_another_run_is_another_one(uri, file, runs):
    for name in ("run-1", "run-2"):
        with open_mlflow(uri, RunFile(run=name, config=file.config, out=file.out, environment={})) as send:
            send(record(1))
    assert sorted(run.info.run_name for run in runs()) == ["run-1", "run-2"]


def test_a_training_that_fails_has_failed_there_too(uri, file, runs):
    with contextlib.suppress(ZeroDivisionError), open_mlflow(uri, file):
        raise ZeroDivisionError
    assert [run.info.status for run in runs()] == ["FAILED"]


def test_a_store_that_goes_away_is_said_once_and_ends_nothing(uri, file, tmp_path, capfd):
    with open_mlflow(uri, file) as send:
        send(record(1))
        for experiment in (tmp_path / "runs").glob("[!.]*"):  # all but the trash, which MLflow wants to find
            shutil.rmtree(experiment)
        send(record(2))
        send(record(3))
    said = capfd.readouterr().err
    assert said.count("note: rounds no longer go to MLflow; training goes on") == said.count("\n") == 1


def test_a_server_that_is_not_there_is_named_without_its_password(file, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    reports = open_mlflow("http://me:secret@127.0.0.1:1", file)
    with pytest.raises(OutputError, match=r"MLflow at http://127.0.0.1:1: .*change --mlflow") as error:
        reports.__enter__()
    assert "secret" not in str(error.value)


def test_without_the_library_the_flag_is_refused(monkeypatch, capsys):
    from federated.__main__ import main

    monkeypatch.setattr(running, "find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="2"):
        main(["resume", "logs", "--mlflow", "http://127.0.0.1:1"])
    assert "pip install 'limelight[mlflow]'" in capsys.readouterr().err
