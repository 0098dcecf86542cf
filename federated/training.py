"""A whole run: a classifier, an engine, its rounds, and the model that comes out.

This module and what only it imports load TensorFlow.
"""

import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf
from msgspec import Struct
from numpy.typing import NDArray

from federated.algorithms.definition import Leaves
from federated.assembly import attack_data, open_server
from federated.client_states import require_room
from federated.data.clients import Federation
from federated.evaluation.judge import Judge
from federated.model_card import describe_model, describe_privacy, describe_training
from federated.models.classifier import Classifier, build_classifier
from federated.privacy.opening import Privacy
from federated.progress import show_progress
from federated.records import open_records
from federated.rounds import Outcome, run_rounds
from federated.run_directory import RunDirectory, RunFile, digest_run
from federated.run_state import Keeper, RunState
from federated.saved_model import write_saved_model
from worker.bundle import Training
from worker.messages import RoundRecord

EVALUATION_BATCH = 256


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
    skipped_rounds: int
    """Of `rounds`: too few clients answered, and nothing was learned."""
    out: str


def train(
    directory: RunDirectory,
    file: RunFile,
    federation: Federation,
    *,
    privacy: Privacy | None,
    reports: Sequence[Callable[[RoundRecord], None]],
) -> RunResult:
    """Trains a run to its end, from its last checkpoint if there is one, and writes the SavedModel.

    Args:
        directory: of the run; gets the records and the checkpoints.
        file: what was asked for.
        federation: the clients.
        privacy: of a differentially private run.
        reports: get each round's record too.

    Raises:
        AggregationError: too few clients for the aggregation, in every round.
        BudgetError: a round would pass the budget.
        CheckpointError: the run's state cannot be saved, or cannot be used.
        DivergenceError: the model's numbers ran over.
        EngineError: the engine's process failed.
        OutputError: the model exists already, or cannot be written; or the clients' states would not fit on the disk.
    """
    started = time.monotonic()
    config = file.config
    classifier = build_classifier(
        config.model, vocabulary_size=len(federation.vocabulary), classes=len(federation.labels)
    )
    outcome, clip = _run(directory, file, federation, classifier, privacy=privacy, reports=reports)
    classifier.set_weights(outcome.weights)
    seconds = time.monotonic() - started
    training = describe_training(config, outcome, clients=len(federation.clients), seconds=seconds)
    card = describe_model(config, federation, training, describe_privacy(config, privacy, clip=clip))
    write_saved_model(
        Path(file.out), classifier, card, vocabulary=federation.vocabulary, reference=federation.heldout_examples
    )
    directory.finish(keep_clients=config.training.algorithm == "ditto")
    return _summarize(training, file.out, skipped=outcome.skipped)


def _run(
    directory: RunDirectory,
    file: RunFile,
    federation: Federation,
    classifier: Classifier,
    *,
    privacy: Privacy | None,
    reports: Sequence[Callable[[RoundRecord], None]],
) -> tuple[Outcome, float]:
    """Runs the rounds; returns what they led to, and the clip at their end."""
    config = file.config
    judge, state = Judge(federation), RunState(config.training)

    def evaluate(weights: Leaves) -> dict[str, float]:
        classifier.set_weights(weights)
        return judge(partial(predict, classifier))

    with (
        show_progress(config.training.rounds) as show,
        open_records(directory.path) as write,
        open_server(config, federation, privacy) as server,
    ):
        require_room(directory.clients, server.untouched, clients=len(federation.clients))
        keeper = Keeper(directory.path, server, state, config_digest=digest_run(file))
        keeper.restore()
        outcome = run_rounds(
            server,
            attack_data(config, federation),
            config,
            state,
            run=file.run,
            evaluate=evaluate,
            reports=[write, show, *reports],
            save=keeper.save,
            privacy=privacy,
        )
        (clip,) = server.snapshot()["aggregation"]["clip"]
    return outcome, float(clip)


def predict(classifier: Classifier, token_ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """Token ids `[N, T]` -> probabilities `[N, C]`."""
    batches = np.array_split(token_ids, -(-len(token_ids) // EVALUATION_BATCH))
    return np.concatenate([classifier.serving(tf.constant(batch))["probabilities"] for batch in batches])


def _summarize(training: Training, out: str, *, skipped: int) -> RunResult:
    metrics = training.metrics
    return RunResult(
        engine=training.engine,
        rounds=training.rounds,
        clients=training.clients,
        seconds=training.seconds,
        heldout_accuracy=metrics["accuracy"],
        heldout_macro_f1=metrics["macro_f1"],
        heldout_recall={name.removeprefix("recall."): v for name, v in metrics.items() if name.startswith("recall.")},
        skipped_rounds=skipped,
        out=out,
    )
