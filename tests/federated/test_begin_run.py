"""What a run leaves behind that could not begin: nothing that keeps another one from beginning in its place."""

import argparse
import json
import shutil

import pytest

from federated.commands.private import begin_run
from federated.config import load_config
from federated.data.examples import Example
from federated.errors import OutputError, PrivacyError
from federated.run_directory import RunDirectory, RunFile

pytestmark = pytest.mark.fast

# Local noise is solved in no time.
PRIVATE = {"privacy.epsilon": 6.0, "privacy.delta": 1e-3, "privacy.sampling": "local", "aggregation.clip": 1.0}
FILE = RunFile(run="model-1", config=load_config("reviews", PRIVATE), out="/models/model", environment={})


@pytest.fixture
def directory(tmp_path):
    return RunDirectory(tmp_path / "logs")


@pytest.fixture
def begin(directory, stored):
    """Begins a private run in the directory."""

    def run(*, clients=50, store=None):
        example = Example("a b", "x", "c")
        return begin_run(
            directory, FILE, store or stored([example]), argparse.Namespace(noise_key=None), clients=clients
        )

    return run


def test_a_run_that_began_has_a_ledger_of_its_own_key(directory, begin):
    privacy = begin()
    ledger = json.loads((directory.privacy / "ledger.json").read_text())
    assert ledger["key_fingerprint"] == privacy.key.fingerprint()
    assert directory.load() == FILE


def test_a_promise_that_cannot_be_made_leaves_nothing(directory, begin):
    with pytest.raises(PrivacyError, match="is not below 1 / 1000 clients"):
        begin(clients=1000)
    assert not directory.path.exists()


def test_a_directory_that_cannot_be_written_gets_no_ledger(directory, begin, stored):
    store = stored([Example("a b", "x", "c")])
    shutil.rmtree(store.path)
    with pytest.raises(OutputError, match="cannot write"):
        begin(store=store)
    assert not directory.privacy.exists()
    begin()


def test_a_key_without_a_ledger_has_drawn_nothing_and_is_replaced(directory, begin):
    """The process was killed between the two."""
    directory.privacy.mkdir(parents=True)
    (directory.privacy / "noise.key").write_text("random 00")
    begin()


def test_a_ledger_is_never_replaced_and_neither_is_its_run(directory, begin):
    begin()
    before = {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()}
    with pytest.raises(OutputError, match="holds another run's ledger"):
        begin()
    assert {path: path.read_bytes() for path in directory.path.rglob("*") if path.is_file()} == before
