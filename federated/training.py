"""A whole run: a classifier, an engine, its rounds, and the model that comes out.

This module and what only it imports load TensorFlow.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import Literal

import numpy as np
import tensorflow as tf
from msgspec import Struct
from numpy.typing import NDArray

from federated.aggregation import compiled
from federated.aggregation.attacks import AttackedAggregation, choose_liars, flip_labels
from federated.aggregation.pipeline import Pipeline
from federated.algorithms.choice import build_algorithm
from federated.algorithms.definition import Aggregation, Algorithm, Leaves
from federated.client_states import require_room
from federated.config import Config
from federated.data.clients import ClientDataset, Federation
from federated.engines.cohort import plan_shapes
from federated.engines.opening import open_engine
from federated.evaluation.judge import Judge
from federated.models.block import Model, build_model
from federated.models.classifier import Classifier, build_classifier
from federated.privacy.card import build_card
from federated.privacy.opening import Privacy
from federated.progress import show_progress
from federated.records import open_records
from federated.rounds import run_rounds
from federated.run_directory import RunDirectory, RunFile, digest_run
from federated.run_state import Keeper, RunState
from federated.saved_model import write_saved_model
from federated.server import Server
from worker.bundle import AttentionAxes, ModelCard, TextField, Training
from worker.messages import RoundRecord
from worker.privacy import PrivacyCard

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
        open_server(config, federation, model, privacy) as server,
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
    card = _describe(config, federation, training, _describe_privacy(config, server, privacy))
    write_saved_model(out, classifier, card, vocabulary=federation.vocabulary, reference=federation.heldout_examples)
    directory.finish()
    return _summarize(training, state, out)


def _summarize(training: Training, state: RunState, out: Path) -> RunResult:
    metrics = training.metrics
    return RunResult(
        engine=training.engine,
        rounds=training.rounds,
        clients=training.clients,
        seconds=training.seconds,
        heldout_accuracy=metrics["accuracy"],
        heldout_macro_f1=metrics["macro_f1"],
        heldout_recall={name.removeprefix("recall."): v for name, v in metrics.items() if name.startswith("recall.")},
        skipped_rounds=state.skipped,
        out=str(out),
    )


@contextlib.contextmanager
def open_server(
    config: Config, federation: Federation, model: Model, privacy: Privacy | None = None
) -> Iterator[Server]:
    """Joins algorithm, aggregation and engine, as `config` says; they end with the block.

    Raises:
        AggregationError: the settings of the aggregation contradict each other.
        EngineError: the engine's process failed.
    """
    training = config.training
    sizes = {"vocabulary_size": len(federation.vocabulary), "classes": len(federation.labels)}
    rebuild = partial(build_parts, config, **sizes, clients=len(federation.clients))
    algorithm, aggregation = rebuild(privacy=privacy)
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


def attack(config: Config, honest: Pipeline, *, clients: int) -> Aggregation:
    """The aggregation as the liars of ``[attack]`` meet it; without any, `honest` itself."""
    liars = choose_liars(clients, config.attack.share, seed=config.seed)
    return AttackedAggregation(honest, liars, config.attack.factor) if liars else honest


def attack_data(config: Config, federation: Federation) -> Sequence[ClientDataset]:
    """The clients' data, with the liars' labels flipped if ``[attack]`` says so."""
    if not config.attack.label_flip:
        return federation.clients
    liars = choose_liars(len(federation.clients), config.attack.share, seed=config.seed)
    return flip_labels(federation.clients, liars, classes=len(federation.labels))


def build_parts(
    config: Config, *, vocabulary_size: int, classes: int, clients: int, privacy: Privacy | None = None
) -> tuple[Algorithm, Aggregation]:
    """What a run's clients do; an engine of several processes builds it in each of them, without `privacy`."""
    model = build_model(config.model, vocabulary_size=vocabulary_size, classes=classes)
    pipeline = Pipeline(
        config.aggregation,
        [leaf.shape for leaf in model.init(config.seed)],
        steps=compiled,
        seed=config.seed,
        sampling=config.privacy.sampling if config.privacy.epsilon else None,
        privacy=privacy,
    )
    return build_algorithm(model.apply, config.training, clients=clients), attack(config, pipeline, clients=clients)


def predict(classifier: Classifier, token_ids: NDArray[np.int32]) -> NDArray[np.float32]:
    """Token ids `[N, T]` -> probabilities `[N, C]`."""
    batches = np.array_split(token_ids, -(-len(token_ids) // EVALUATION_BATCH))
    return np.concatenate([classifier.serving(tf.constant(batch))["probabilities"] for batch in batches])


def _describe_privacy(config: Config, server: Server, privacy: Privacy | None) -> PrivacyCard | Literal["none"]:
    if privacy is None:
        return "none"
    (clip,) = server.snapshot()["aggregation"]["clip"]
    return build_card(
        privacy.plan,
        charged_rounds=privacy.ledger.charged_rounds,
        clip=float(clip),
        adaptive=config.aggregation.clip_quantile > 0,
        secure_sum=config.aggregation.secure_sum,
        given_key=privacy.key.given,
    )


def _describe(
    config: Config, federation: Federation, training: Training, privacy: PrivacyCard | Literal["none"]
) -> ModelCard:
    field = TextField(name="text", input="token_ids", vocabulary="vocabulary.txt", max_tokens=federation.max_tokens)
    attention = AttentionAxes(name="tokens", output="attention", field=field.name, axes=["token"])
    return ModelCard(
        name=config.model.name,
        task="classify",
        fields=[field],
        attention=[] if config.model.attention == "none" else [attention],
        labels=federation.labels,
        training=training,
        privacy=privacy,
    )
