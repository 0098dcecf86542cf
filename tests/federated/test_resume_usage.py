"""What `resume` and `evaluate` refuse before they load TensorFlow: in one line, with nothing changed."""

import msgspec
import pytest

from federated.__main__ import main
from federated.checkpoint import save_checkpoint
from federated.config import load_config
from federated.data.examples import Example
from federated.run_directory import RunDirectory, RunFile, digest_run

pytestmark = pytest.mark.fast


@pytest.fixture
def begun(tmp_path, stored):
    """A run that was killed after its first checkpoint."""
    config = load_config("reviews", {"data.min_count": 1})
    file = RunFile(run="model-1", config=config, out=str(tmp_path / "model"), environment={})
    directory = RunDirectory(tmp_path / "logs")
    directory.begin(file, stored(Example(f"{label} {n}", label) for n in range(300) for label in "ab"))
    save_checkpoint(directory.checkpoint, {"number": 1}, config_digest=digest_run(file))
    return directory


@pytest.fixture
def refuse(begun, capsys):
    """Runs a command on the logs, and returns its one line."""

    def run(command, *options):
        before = {path: path.read_bytes() for path in begun.path.rglob("*") if path.is_file()}
        assert main([command, str(begun.path), *options]) == 1
        assert {path: path.read_bytes() for path in begun.path.rglob("*") if path.is_file()} == before
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


def test_a_run_is_judged_when_it_is_finished(begun, refuse):
    assert "is not finished. Resume it first" in refuse("evaluate")
    assert "is not finished. Resume it first" in refuse("personalize")
    begun.finish()
    assert "kept no test set" in refuse("evaluate", "--final")
