"""Models of single clients, after a run: each goes on from the shared model with its client's own examples.

A client's model is judged on that client's held-out examples alone. Nothing is chosen here, so nothing is tuned on what
judges.
"""

import contextlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

from federated.algorithms.definition import WEIGHTS, Leaves
from federated.algorithms.fine_tuning import build_fine_tuning
from federated.algorithms.mean import WeightedMean
from federated.comparison import Answers, Comparison, compare
from federated.config import Config
from federated.data.clients import Federation
from federated.engines.cohort import Cohort, plan_shapes
from federated.engines.xla import XlaEngine
from federated.loaded_model import LoadedModel
from federated.models.block import build_model
from federated.rounds import draw_local_data

ROUND = 0
"""Fine-tuning draws its random numbers as if it were the round before the first."""
MODELS_AT_A_TIME = 50
"""How many clients' models are in memory."""


class FineTuning(NamedTuple):
    """How far a client goes from the shared model."""

    epochs: int
    rate: float


def fine_tune(config: Config, federation: Federation, weights: Leaves, how: FineTuning) -> Iterator[tuple[int, Leaves]]:
    """Trains a model for each client that has held-out examples.

    Args:
        config: of the run.
        federation: its clients.
        weights: of the shared model.
        how: how far.

    Yields:
        Client, and the leaves of its model.
    """
    model = build_model(config.model, vocabulary_size=len(federation.vocabulary), classes=len(federation.labels))
    algorithm = build_fine_tuning(model.apply, rate=how.rate)
    judged = np.unique(federation.heldout_owner).tolist()
    shapes = plan_shapes(
        federation.clients.sizes[judged].tolist(),
        epochs=how.epochs,
        batch_size=config.training.batch_size,
        max_tokens=federation.max_tokens,
    )
    broadcasts: tuple[Leaves, Leaves] = algorithm.broadcast({WEIGHTS: weights}, ROUND), []
    with contextlib.closing(XlaEngine(algorithm, WeightedMean(), shapes=shapes)) as engine:
        for start in range(0, len(judged), MODELS_AT_A_TIME):
            chosen = judged[start : start + MODELS_AT_A_TIME]
            data = [
                draw_local_data(
                    federation.clients[client], how.epochs, np.random.default_rng([config.seed, ROUND, client])
                )
                for client in chosen
            ]
            packed = engine.pack(Cohort(config.seed, ROUND, chosen, data))
            nothing: list[Leaves] = [[] for _ in chosen]
            result = engine.run(packed, broadcasts=broadcasts, client_states=nothing, local=nothing)
            yield from zip(chosen, result.client_states, strict=True)


def judge_personal(
    model: LoadedModel, federation: Federation, personal: Iterable[tuple[int, Leaves]]
) -> Comparison | None:
    """Judges clients' own models beside the shared one.

    Args:
        model: the shared one; its weights are exchanged, and are its own again afterwards.
        federation: the clients.
        personal: client, and the leaves of its model.

    Returns:
        None, if no client with held-out examples has a model.

    Raises:
        FloatingPointError: an answer of a personal model is not a number.
    """
    heldout, owner, shared = federation.heldout, federation.heldout_owner, model.get_weights()
    before = model.predict(heldout.token_ids)
    after, answered = np.zeros_like(before), np.zeros(len(owner), bool)
    try:
        for client, weights in personal:
            if (rows := np.flatnonzero(owner == client)).size:
                model.set_weights(weights)
                after[rows] = model.predict(heldout.token_ids[rows])
                answered[rows] = True
    finally:
        model.set_weights(shared)
    if not answered.any():
        return None
    judged = type(heldout)(*(part[answered] for part in heldout))
    return compare(judged, owner[answered], Answers(before[answered], after[answered]), federation.labels)
