"""A whole run: a classifier, an engine, its rounds, and the model that comes out.

This module and what only it imports load TensorFlow.
"""

import contextlib
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow as tf
from msgspec import Struct

from federated.algorithms.definition import Leaves
from federated.algorithms.fed_avg import build_fed_avg
from federated.algorithms.mean import WeightedMean
from federated.config import Config
from federated.data.clients import ClientDataset, Federation
from federated.engines.cohort import plan_shapes
from federated.engines.opening import open_engine
from federated.evaluation import score
from federated.models.block import Model, build_model
from federated.models.classifier import Classifier, build_classifier
from federated.progress import show_progress
from federated.records import open_records
from federated.rounds import run_rounds
from federated.saved_model import write_saved_model
from federated.server import Server
from worker.bundle import AttentionAxes, ModelCard, TextField, Training

EVALUATION_BATCH = 256

_LIBRARIES = {"xla": ("tensorflow", "numpy"), "tff": ("tensorflow-federated", "tensorflow", "numpy")}
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


def train(config: Config, federation: Federation, *, out: Path, log_dir: Path) -> RunResult:
    """Trains as `config` says and writes the SavedModel to `out`.

    Raises:
        DivergenceError: the model's numbers ran over.
        EngineError: the engine's process failed.
        OutputError: `out` exists already, or cannot be written.
    """
    started = time.monotonic()
    sizes = {"vocabulary_size": len(federation.vocabulary), "classes": len(federation.labels)}
    classifier = build_classifier(config.model, **sizes)

    def evaluate(weights: Leaves) -> dict[str, float]:
        classifier.set_weights(weights)
        return score(federation.heldout.label, predict(classifier, federation.heldout), federation.labels)

    model = build_model(config.model, **sizes)
    with (
        show_progress(config.training.rounds) as show,
        open_records(log_dir) as write,
        open_server(config, federation, model) as server,
    ):
        # The last round always evaluates, so that the classifier is left with the final weights.
        metrics = run_rounds(
            server,
            federation.clients,
            config,
            run=f"{out.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
            evaluate=evaluate,
            reports=[write, show],
        )
    seconds = time.monotonic() - started
    training = Training(
        preset=config.preset,
        engine=config.training.engine,
        rounds=config.training.rounds,
        clients=len(federation.clients),
        seed=config.seed,
        seconds=round(seconds, 3),
        metrics=metrics,
        library_versions={name: metadata.version(name) for name in _LIBRARIES[config.training.engine]},
    )
    card = _describe(config, federation, training)
    write_saved_model(out, classifier, card, vocabulary=federation.vocabulary, reference=federation.heldout_examples)
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
    algorithm, aggregation = build_fed_avg(model.apply, training), WeightedMean()
    shapes = plan_shapes(
        [len(client.label) for client in federation.clients],
        epochs=training.local_epochs,
        batch_size=training.batch_size,
        max_tokens=federation.max_tokens,
    )
    initial = model.init(config.seed)
    state = algorithm.init(initial)
    with open_engine(training.engine, algorithm, aggregation, shapes=shapes, state=state) as engine:
        yield Server(algorithm, aggregation, engine, initial=initial)


def predict(classifier: Classifier, data: ClientDataset) -> np.ndarray:
    """Class of each example, `[N]`.

    Raises:
        FloatingPointError: an answer is not a number, though the weights may be.
    """
    batches = np.array_split(data.token_ids, -(-len(data.token_ids) // EVALUATION_BATCH))
    probabilities = np.concatenate([classifier.serving(tf.constant(batch))["probabilities"] for batch in batches])
    if not np.isfinite(probabilities).all():
        raise FloatingPointError("an answer to a held-out example is not finite")
    return probabilities.argmax(axis=-1)


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
