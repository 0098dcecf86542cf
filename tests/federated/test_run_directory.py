"""A run's directory: begun once, not taken from a run that can be resumed, and freed when the model is written."""

import argparse
import resource

import msgspec
import pytest

from federated.commands import resume
from federated.config import Config
from federated.data.examples import Example
from federated.errors import CheckpointError, OutputError
from federated.run_directory import RunDirectory, RunFile, describe_environment, digest_run

pytestmark = pytest.mark.fast

FILE = RunFile(run="model-1", config=Config(preset="demo"), out="/models/model", environment={"processor": "x"})


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(tmp_path / "logs")


@pytest.fixture
def store(stored):
    return stored([Example("a b", "x", "c")])


def test_what_was_asked_for_comes_back_and_the_store_is_moved(directory, store):
    directory.begin(FILE, store)
    assert directory.load() == FILE
    assert store.path == directory.store
    assert store.text(0) == "a b"


def test_a_run_that_can_be_resumed_keeps_its_directory(directory, store):
    directory.require_free()
    directory.begin(FILE, store)
    directory.require_free()
    directory.checkpoint.touch()
    with pytest.raises(OutputError, match=r"not finished\. Go on with it: .* resume .*/logs; or remove"):
        directory.require_free()


def test_a_finished_run_leaves_what_can_be_looked_at(directory, store):
    directory.begin(FILE, store)
    directory.checkpoint.touch()
    directory.clients.mkdir()
    directory.finish()
    directory.require_free()
    assert directory.load() == msgspec.structs.replace(FILE, finished=True)
    assert {path.name for path in directory.path.iterdir()} == {"run.json", "store"}


def test_a_finished_run_keeps_its_ledger_and_not_its_key(directory, store):
    directory.begin(FILE, store)
    directory.privacy.mkdir()
    for name in ("ledger.json", "noise.key"):
        (directory.privacy / name).touch()
    directory.finish()
    assert [path.name for path in directory.privacy.iterdir()] == ["ledger.json"]


def test_a_run_that_cannot_be_marked_as_finished_keeps_its_key(directory, store):
    """A disk that is full has no room for run.json."""
    directory.begin(FILE, store)
    directory.privacy.mkdir()
    key = directory.privacy / "noise.key"
    key.touch()
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (16, before[1]))
    try:
        with pytest.raises(OutputError, match="File too large"):
            directory.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert key.exists()
    assert not directory.load().finished


def test_a_finished_run_that_was_killed_with_its_key_loses_it_when_it_is_resumed(directory, store):
    directory.begin(msgspec.structs.replace(FILE, finished=True), store)
    directory.privacy.mkdir()
    key = directory.privacy / "noise.key"
    key.touch()
    with pytest.raises(CheckpointError, match="is finished"):
        resume.run(argparse.Namespace(logs=directory.path))
    assert not key.exists()


def test_states_of_clients_that_are_a_result_stay(directory, store):
    directory.begin(FILE, store)
    directory.checkpoint.touch()
    directory.clients.mkdir()
    directory.finish(keep_clients=True)
    assert {path.name for path in directory.path.iterdir()} == {"run.json", "store", "clients"}


def test_the_next_run_replaces_all_but_the_records(directory, stored):
    for number in (1, 2):
        store = stored([Example(f"text {number}", "x")])
        directory.begin(msgspec.structs.replace(FILE, run=f"model-{number}"), store)
        (directory.path / "rounds.jsonl").touch()
        directory.personal.touch()
        directory.clients.mkdir()
    assert directory.load().run == "model-2"
    assert store.text(0) == "text 2"
    directory.begin(FILE, stored([Example("a b", "x")]))
    assert {path.name for path in directory.path.iterdir()} == {"run.json", "store", "rounds.jsonl"}


@pytest.mark.parametrize(
    ("content", "message"), [(None, "holds no run"), ("{", "damaged or of another version"), ('{"x": 1}', "damaged")]
)
def test_what_is_no_run_is_refused(directory, content, message):
    directory.path.mkdir()
    if content:
        directory.file.write_text(content)
    with pytest.raises(CheckpointError, match=message):
        directory.load()


def test_a_place_that_cannot_be_written_is_named(tmp_path, store):
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match=r"cannot write .*file/logs: Not a directory"):
        RunDirectory(tmp_path / "file" / "logs").begin(FILE, store)


def test_the_digest_is_of_what_must_not_be_mixed_up():
    moved = msgspec.structs.replace(FILE, out="/elsewhere", environment={"processor": "y"})
    assert digest_run(moved) == digest_run(FILE)
    for change in ({"run": "model-2"}, {"config": Config(preset="demo", seed=2)}):
        assert digest_run(msgspec.structs.replace(FILE, **change)) != digest_run(FILE)


def test_the_environment_names_processor_and_libraries():
    environment = describe_environment()
    assert {"machine", "processor", "tensorflow", "numpy"} <= set(environment)
    assert all(isinstance(value, str) for value in environment.values())
