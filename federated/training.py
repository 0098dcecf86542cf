"""A whole run: a classifier, an engine, its rounds, and the model that comes out.

This module and what only it imports load TensorFlow.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow as tf
from msgspec import Struct
from numpy.typing import NDArray

from federated.algorithms.choice import build_algorithm
from federated.algorithms.definition import Aggregation, Algorithm, Leaves
from federated.algorithms.mean import WeightedMean
from federated.client_states import require_room
from federated.config import Config
from federated.data.clients import Federation
from federated.engines.cohort import plan_shapes
from federated.engines.opening import open_engine
from federated.evaluation.judge import Judge
from federated.models.block import Model, build_model
from federated.models.classifier import Classifier, build_classifier
from federated.progress import show_progress
from federated.records import open_records
from federated.rounds import run_rounds
from federated.run_directory import RunDirectory, RunFile, digest_run
from federated.run_state import Keeper, RunState
from federated.saved_model import write_saved_model
from federated.server import Server
from worker.bundle import AttentionAxes, ModelCard, TextField, Training
from worker.messages import RoundRecord

EVALUATION_BATCH = 256

_LIBRARIES = {
    "xla": ("tensorflow", "numpy"),
    "tff": ("tensorflow-federated", "tensorflow", "numpy"),
    "ray": ("ray", "tensorflow", "numpy"),
}
"""What decides the numbers, by engine."""


class RunResult(Struct, frozen=True):
    """The figures of a finished run."""

    engine: str
    rounds: int
    clients: int
    seconds: float
    """From the clients in memory to the weights, without TensorFlow's import and without writing the model."""
    heldout_accuracy: float
    heldout_macro_f1: float
    heldout_recall: dict[str, float]
    """Label -> recall."""
    out: str


def train(
    directory: RunDirectory, file: RunFile, federation: Federation, *, reports: Sequence[Callable[[RoundRecord], None]]
) -> RunResult:
    """Trains a run to its end, from its last checkpoint if there is one, and writes the SavedModel.

    Args:
        directory: of the run; gets the records and the checkpoints.
        file: what was asked for.
        federation: the clients.
        reports: get each round's record too.

    Raises:
        CheckpointError: the run's state cannot be saved, or cannot be used.
        DataError: nobody took part in a round.
        DivergenceError: the model's numbers ran over.
        EngineError: the engine's process failed.
        OutputError: the model exists already, or cannot be written; or the clients' states would not fit on the disk.
    """
    started = time.monotonic()
    config, out = file.config, Path(file.out)
    sizes = {"vocabulary_size": len(federation.vocabulary), "classes": len(federation.labels)}
    classifier = build_classifier(config.model, **sizes)
    judge, state = Judge(federation), RunState(config.training)

    def evaluate(weights: Leaves) -> dict[str, float]:
        classifier.set_weights(weights)
        return judge(partial(predict, classifier))

    model = build_model(config.model, **sizes)
    with (
        show_progress(config.training.rounds) as show,
        open_records(directory.path) as write,
        open_server(config, federation, model) as server,
    ):
        require_room(directory.clients, server.untouched, clients=len(federation.clients))
        keeper = Keeper(directory.path, server, state, config_digest=digest_run(file))
        keeper.restore()
        outcome = run_rounds(
            server,
            federation.clients,
            config,
            state,
            run=file.run,
            evaluate=evaluate,
            reports=[write, show, *reports],
            save=keeper.save,
        )
    classifier.set_weights(outcome.weights)
    seconds = time.monotonic() - started
    training = Training(
        preset=config.preset,
        engine=config.training.engine,
        rounds=outcome.rounds,
        clients=len(federation.clients),
        seed=config.seed,
        seconds=round(seconds, 3),
        metrics=outcome.metrics,
        library_versions={name: metadata.version(name) for name in _LIBRARIES[config.training.engine]},
    )
    card = _describe(config, federation, training)
    write_saved_model(out, classifier, card, vocabulary=federation.vocabulary, reference=federation.heldout_examples)
    directory.finish()
    return _summarize(training, out)


def _summarize(training: Training, out: Path) -> RunResult:
    metrics = training.metrics
    return RunResult(
        engine=training.engine,
        rounds=training.rounds,
        clients=training.clients,
        seconds=training.seconds,
        heldout_accuracy=metrics["accuracy"],
        heldout_macro_f1=metrics["macro_f1"],
        heldout_recall={name.removeprefix("recall."): v for name, v in metrics.items() if name.startswith("recall.")},
        out=str(out),
    )


@contextlib.contextmanager
def open_server(config: Config, federation: Federation, model: Model) -> Iterator[Server]:
    """Joins algorithm, aggregation and engine, as `config` says; they end with the block.

    Raises:
        EngineError: the engine's process failed.
    """
    training = config.training
    sizes = {"vocabulary_size": len(federation.vocabulary), "classes": len(federation.labels)}
    rebuild = partial(build_parts, config, **sizes, clients=len(federation.clients))
    algorithm, aggregation = rebuild()
    shapes = plan_shapes(
        federation.clients.sizes.tolist(),
        epochs=training.local_epochs,
        batch_size=training.batch_size,
        max_tokens=federation.max_tokens,
    )
    initial = model.init(config.seed)
    state = algorithm.init(initial)
    with open_engine(
        training.engine,
        algorithm,
        aggregation,
        shapes=shapes,
        state=state,
        rebuild=rebuild,
        address=training.ray_address,
    ) as engine:
        yield Server(algorithm, aggregation, engine, initial=initial)


def build_parts(config: Config, *, vocabulary_size: int, classes: int, clients: int) -> tuple[Algorithm, Aggregation]:
    """What a run's clients do; an engine of several processes builds it in each of them."""
    model = build_model(config.model, vocabulary_size=vocabulary_size, classes=classes)
    return build_algorithm(model.apply, config.training, clients=clients), WeightedMean()


def predict(classifier: Classifier, token_ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """Token ids `[N, T]` -> probabilities `[N, C]`."""
    batches = np.array_split(token_ids, -(-len(token_ids) // EVALUATION_BATCH))
    return np.concatenate([classifier.serving(tf.constant(batch))["probabilities"] for batch in batches])


def _describe(config: Config, federation: Federation, training: Training) -> ModelCard:
    field = TextField(name="text", input="token_ids", vocabulary="vocabulary.txt", max_tokens=federation.max_tokens)
    attention = AttentionAxes(name="tokens", output="attention", field=field.name, axes=["token"])
    return ModelCard(
        name=config.model.name,
        task="classify",
        fields=[field],
        attention=[] if config.model.attention == "none" else [attention],
        labels=federation.labels,
        training=training,
        privacy="none",
    )
