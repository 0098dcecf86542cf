"""One model, trained once a session as a user would train it, for all tests that look at what training leaves behind.

TensorFlow is never imported here: the fast tests of this directory share the file.
"""

import json
import os
import subprocess
import sys
import uuid
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import federated  # noqa: F401 - sets what TensorFlow reads when it is imported
from federated.algorithms.definition import Algorithm, ClientOutput
from federated.data.examples import Example
from federated.data.spill import write_store
from federated.data.store import ClientStore

SMALL = ["data.records=600", "data.clients=6", "data.max_tokens=32", "model.embedding_size=8", "model.hidden_size=8"]
TRAINING_SECONDS = 240
"""For a small training on a busy machine."""


def pytest_configure(config: pytest.Config) -> None:
    # SciPy's convolutions, in the version that TensorFlow Federated takes.
    config.addinivalue_line("filterwarnings", "ignore:np.find_common_type is deprecated:DeprecationWarning")
    # Keras draws the seeds of initializers so, once it has been given a global seed.
    config.addinivalue_line("filterwarnings", "ignore:non-integer arguments to randrange:DeprecationWarning")


@pytest.fixture
def stored(tmp_path: Path) -> Callable[[Iterable[Example]], ClientStore]:
    """Puts examples into a client store."""

    def write(examples: Iterable[Example]) -> ClientStore:
        path = tmp_path / f"store-{uuid.uuid4()}"
        write_store(path, examples)
        return ClientStore(path)

    return write


def drop_mask(update, broadcast, state, batches, key):
    """A row that only fills up its batch counts like any other."""
    return update(broadcast, state, batches._replace(kept=batches.kept | True), key)


def weigh_wrongly(update, *arguments):
    """By the square of the examples, where it should be by their number or not at all."""
    output = update(*arguments)
    return output._replace(weight=output.metrics["examples"] ** 2)


def turn_round(update, *arguments):
    """The first part of the update has the wrong sign."""
    output = update(*arguments)
    return output._replace(update=[-output.update[0], *output.update[1:]])


@pytest.fixture(params=[drop_mask, weigh_wrongly, turn_round], ids=lambda fault: fault.__name__)
def spoil(request: pytest.FixtureRequest) -> Callable[[Algorithm], Algorithm]:
    """Gives an algorithm a fault, which a test that holds it equal to something has to see."""
    return partial(_spoil, request.param)


def _spoil(fault: Callable[..., ClientOutput], algorithm: Algorithm) -> Algorithm:
    """A function of this module, because it is sent to other processes."""
    return algorithm._replace(client_update=partial(fault, algorithm.client_update))


@pytest.fixture(scope="session")
def read_tensorboard() -> Callable[[Path], dict[str, list[tuple[int, float]]]]:
    """Reads a run's logs as TensorBoard does: (step, value) of each scalar."""

    def read(logs: Path) -> dict[str, list[tuple[int, float]]]:
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        events = EventAccumulator(str(logs / "tensorboard")).Reload()
        return {tag: [(one.step, one.value) for one in events.Scalars(tag)] for tag in events.Tags()["scalars"]}

    return read


@pytest.fixture(scope="session")
def train_command() -> Callable[..., list[str]]:
    """Builds the command line of a trainer whose model is small."""

    def build(*arguments: object, small: bool = True) -> list[str]:
        sizes = [word for assignment in SMALL for word in ("--set", assignment)] if small else []
        return [sys.executable, "-m", "federated", "train", *map(str, arguments), *sizes]

    return build


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, train_command: Callable[..., list[str]]) -> SimpleNamespace:
    """A run of the `demo` preset, made small: its directory, its logs, its figures and what it printed."""
    directory = tmp_path_factory.mktemp("trained")
    out, figures = directory / "model", directory / "figures.json"
    command = train_command("--preset", "demo", "--rounds", 3, "--seed", 4, "--out", out, "--json", figures)
    command += ["--mlflow", (directory / "mlflow").as_uri()]
    environment = os.environ | {"MLFLOW_ALLOW_FILE_STORE": "true"}
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    return SimpleNamespace(
        out=out,
        logs=directory / "model-logs",
        figures=json.loads(figures.read_text()),
        mlflow=directory / "mlflow",
        stdout=run.stdout,
        stderr=run.stderr,
    )


@pytest.fixture(scope="session")
def kill_after(wait_for):
    """Starts a training and ends it with SIGKILL when so many rounds are recorded."""

    def kill(rounds, command, records):
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as trainer:
            try:
                wait_for(
                    lambda: trainer.poll() is not None or _lines(records) >= rounds,
                    seconds=TRAINING_SECONDS,
                )
                assert trainer.poll() is None, trainer.stderr.read()
            finally:
                trainer.kill()

    return kill


def _lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0
