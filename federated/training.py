"""A whole run: a classifier, an engine, its rounds, and the model that comes out.

This module and what only it imports load TensorFlow.
"""

import time
from datetime import UTC, datetime
from functools import partial
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow as tf
from msgspec import Struct

from federated.config import Config
from federated.data.clients import ClientDataset, Federation
from federated.engines import tff
from federated.evaluation import score
from federated.models.classifier import Classifier, build_classifier, build_training_model
from federated.progress import show_progress
from federated.records import open_records
from federated.rounds import Weights, run_rounds
from federated.saved_model import write_saved_model
from worker.bundle import AttentionAxes, ModelCard, TextField, Training

EVALUATION_BATCH = 256

_LIBRARIES = ("tensorflow-federated", "tensorflow", "numpy")


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
    tf.keras.utils.set_random_seed(config.seed)
    sizes = {"vocabulary_size": len(federation.vocabulary), "classes": len(federation.labels)}
    classifier = build_classifier(config.model, **sizes)

    def evaluate(weights: Weights) -> dict[str, float]:
        classifier.set_weights(weights)
        return score(federation.heldout.label, predict(classifier, federation.heldout), federation.labels)

    with show_progress(config.training.rounds) as show, open_records(log_dir) as write, tff.execution_context():
        engine = tff.TffEngine(
            partial(build_training_model, config.model, **sizes),
            initial=classifier.get_weights(),
            config=config.training,
        )
        # The last round always evaluates, so that the classifier is left with the final weights.
        metrics = run_rounds(
            engine,
            federation.clients,
            config,
            run=f"{out.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}",
            evaluate=evaluate,
            reports=[write, show],
        )
    seconds = time.monotonic() - started
    training = Training(
        preset=config.preset,
        engine=tff.NAME,
        rounds=config.training.rounds,
        clients=len(federation.clients),
        seed=config.seed,
        seconds=round(seconds, 3),
        metrics=metrics,
        library_versions={name: metadata.version(name) for name in _LIBRARIES},
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
