"""Joins what a run is made of, as its configuration says: model, algorithm, aggregation and engine."""

import contextlib
from collections.abc import Iterator, Sequence
from functools import partial

from federated.aggregation import compiled
from federated.aggregation.attacks import AttackedAggregation, choose_liars, flip_labels
from federated.aggregation.pipeline import Pipeline
from federated.algorithms.choice import build_algorithm
from federated.algorithms.definition import Aggregation, Algorithm
from federated.config import Config
from federated.data.clients import ClientDataset, Federation
from federated.engines.cohort import plan_shapes
from federated.engines.opening import open_engine
from federated.models.block import build_model
from federated.privacy.opening import Privacy
from federated.server import Server


@contextlib.contextmanager
def open_server(config: Config, federation: Federation, privacy: Privacy | None = None) -> Iterator[Server]:
    """Joins algorithm, aggregation and engine; they end with the block.

    Args:
        config: which ones.
        federation: the clients, for their number and sizes.
        privacy: of a differentially private run.

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
    initial = build_model(config.model, **sizes).init(config.seed)
    with open_engine(
        training.engine,
        algorithm,
        aggregation,
        shapes=shapes,
        rebuild=rebuild,
        address=training.ray_address,
    ) as engine:
        yield Server(algorithm, aggregation, engine, initial=initial)


def build_parts(
    config: Config, *, vocabulary_size: int, classes: int, clients: int, privacy: Privacy | None = None
) -> tuple[Algorithm, Aggregation]:
    """What a run's clients do; an engine of several processes builds it in each of them, without `privacy`."""
    model = build_model(config.model, vocabulary_size=vocabulary_size, classes=classes)
    algorithm = build_algorithm(model.apply, config.training, clients=clients)
    pipeline = Pipeline(
        config.aggregation,
        [leaf.shape for leaf in algorithm.update_like(model.init(config.seed))],
        steps=compiled,
        seed=config.seed,
        sampling=config.privacy.sampling if config.privacy.epsilon else None,
        privacy=privacy,
    )
    return algorithm, attack(config, pipeline, clients=clients)


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
