"""What `resume` and `evaluate` refuse before they load TensorFlow: in one line, with nothing changed."""

import argparse

import msgspec
import numpy as np
import pytest

from federated.__main__ import main
from federated.checkpoint import save_checkpoint
from federated.commands.private import begin_run, resume_privacy
from federated.config import load_config
from federated.data.examples import Example
from federated.data.store import ClientStore
from federated.run_directory import RunDirectory, RunFile, describe_environment, digest_run

pytestmark = pytest.mark.fast


EXAMPLES = [Example(f"{label} {n}", label) for n in range(300) for label in "ab"]


@pytest.fixture
def begun(tmp_path, stored):
    """A run that was killed after its first checkpoint."""
    config = load_config("reviews", {"data.min_count": 1})
    file = RunFile(run="model-1", config=config, out=str(tmp_path / "model"), environment={})
    directory = RunDirectory(tmp_path / "logs")
    directory.begin(file, stored(EXAMPLES))
    save_checkpoint(directory.checkpoint, {"number": 1}, config_digest=digest_run(file))
    return directory


@pytest.fixture
def refuse(tmp_path, capsys):
    """Runs a command on the logs, and returns its one line."""

    def run(command, *options):
        logs = tmp_path / "logs"
        before = {path: path.read_bytes() for path in logs.rglob("*") if path.is_file()}
        assert main([command, str(logs), *options]) == 1
        assert {path: path.read_bytes() for path in logs.rglob("*") if path.is_file()} == before
        printed = capsys.readouterr()
        assert printed.out == ""
        assert printed.err.startswith("error: ")
        assert printed.err.count("\n") == 1
        return printed.err

    return run


def test_a_truncated_checkpoint(begun, refuse):
    begun.checkpoint.write_bytes(begun.checkpoint.read_bytes()[:-1])
    assert f"the checkpoint {begun.checkpoint} is truncated or damaged" in refuse("resume")


def test_a_checkpoint_of_another_configuration(begun, refuse):
    file = begun.load()
    other = msgspec.structs.replace(file, config=msgspec.structs.replace(file.config, seed=9))
    begun.file.write_bytes(msgspec.json.encode(other))
    assert "was written with another configuration" in refuse("resume")


def test_a_store_that_is_gone(begun, refuse):
    (begun.store / "label.npy").unlink()
    assert "label.npy" in refuse("resume")


def test_a_finished_run(begun, refuse):
    begun.finish()
    assert "holds a run that is finished" in refuse("resume")


def test_no_run(tmp_path, capsys):
    assert main(["resume", str(tmp_path)]) == 1
    assert "holds no run" in capsys.readouterr().err


def test_a_model_that_is_there_already(begun, tmp_path, refuse):
    (tmp_path / "model").mkdir()
    assert "model exists already" in refuse("resume")


@pytest.fixture
def private(tmp_path, stored, capsys):
    """A private run that was killed before its first checkpoint."""
    # Local noise is solved in no time.
    settings = {"privacy.epsilon": 6.0, "privacy.delta": 1e-3, "privacy.sampling": "local", "aggregation.clip": 1.0}
    file = RunFile(
        run="model-1",
        config=load_config("reviews", {"data.min_count": 1, **settings}),
        out=str(tmp_path / "model"),
        environment=describe_environment(),
    )
    directory = RunDirectory(tmp_path / "logs")
    begin_run(directory, file, stored(EXAMPLES), argparse.Namespace(noise_key=None), clients=50)
    assert "differential privacy: epsilon 6" in capsys.readouterr().err
    return directory


def test_a_private_run_whose_premises_are_as_they_were_goes_on(private):
    privacy = resume_privacy(private, private.load(), ClientStore(private.store))
    assert privacy.ledger.charged_rounds == 0


def change_file(directory, monkeypatch):
    file = directory.load()
    config = msgspec.structs.replace(file.config, seed=9)
    directory.file.write_bytes(msgspec.json.encode(msgspec.structs.replace(file, config=config)))


def change_store(directory, monkeypatch):
    label = np.load(directory.store / "label.npy")
    np.save(directory.store / "label.npy", 1 - label)


def change_processor(directory, monkeypatch):
    monkeypatch.setattr("federated.run_directory._processor", lambda: "another one")


def change_library(directory, monkeypatch):
    monkeypatch.setattr("federated.run_directory.metadata.version", lambda name: "9" if name == "numpy" else "1")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (change_file, "run.json"),
        (change_store, "the client store"),
        (change_processor, "processor"),
        (change_library, "numpy"),
    ],
)
def test_a_private_run_does_not_repeat_its_noise_on_other_updates(private, refuse, monkeypatch, change, named):
    """Two releases with the same noise differ by what their clients sent."""
    change(private, monkeypatch)
    line = refuse("resume")
    assert named in line
    assert "changed since the run began" in line
    assert "start a new run with another --log-dir" in line


def test_a_run_is_judged_when_it_is_finished(begun, refuse):
    assert "is not finished. Resume it first" in refuse("evaluate")
    assert "is not finished. Resume it first" in refuse("personalize")
    begun.finish()
    assert "kept no test set" in refuse("evaluate", "--final")
