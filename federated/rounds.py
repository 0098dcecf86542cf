"""The training loop: draw a cohort, let the engine run the round, judge now and then, report.

Everything random in it is drawn from a generator that is keyed by (seed, round), so round 7 draws the same whether or
not the process ran rounds 1 to 6.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from typing import Protocol

import numpy as np
from msgspec import UNSET
from numpy.typing import NDArray

from federated.config import TrainingConfig
from federated.data.clients import ClientDataset
from worker.messages import RoundRecord

Weights = list[NDArray[np.float32]]


class Engine(Protocol):
    """Executes rounds."""

    def run_round(self, cohort: Sequence[ClientDataset]) -> dict[str, float]:
        """Updates the server's model from the clients of `cohort`; returns training metrics."""

    def weights(self) -> Weights:
        """The server's model."""


def run_rounds(
    engine: Engine,
    clients: Sequence[ClientDataset],
    config: TrainingConfig,
    *,
    run: str,
    seed: int,
    evaluate: Callable[[Weights], dict[str, float]],
    reports: Sequence[Callable[[RoundRecord], None]],
) -> dict[str, float]:
    """Runs all rounds of `config`.

    Args:
        engine: executes them.
        clients: the federation; `RoundRecord.clients` are indices into it.
        config: how many rounds, clients a round and local epochs.
        run: name of the run in the records.
        seed: see the module.
        evaluate: weights -> held-out metrics.
        reports: get each round's record as soon as the round is over.

    Returns:
        Held-out metrics after the last round.
    """
    heldout: dict[str, float] = {}
    latest: deque[Weights] = deque(maxlen=config.averaged_rounds)
    for number in range(1, config.rounds + 1):
        started = time.monotonic()
        random = np.random.default_rng([seed, number])
        chosen = draw_cohort(len(clients), config.clients_per_round, random)
        cohort = [draw_local_data(clients[client], config.local_epochs, random) for client in chosen]
        train = engine.run_round(cohort)
        latest.append(engine.weights())
        judged = number % config.evaluate_every == 0 or number == config.rounds
        if judged:
            heldout = evaluate(average(latest))
        record = RoundRecord(
            run=run,
            round=number,
            rounds=config.rounds,
            timestamp_ms=time.time_ns() // 1_000_000,
            seconds=time.monotonic() - started,
            clients=chosen,
            examples=sum(len(clients[client].label) for client in chosen),
            train=train,
            heldout=heldout if judged else UNSET,
        )
        for report in reports:
            report(record)
    return heldout


def average(models: Collection[Weights]) -> Weights:
    """Mean of each weight, in the order of the models."""
    return [np.mean(weights, axis=0) for weights in zip(*models, strict=True)]


def draw_cohort(clients: int, size: int, random: np.random.Generator) -> list[int]:
    """Draws `size` of the clients without replacement; all of them if there are not as many."""
    return sorted(random.choice(clients, size=min(size, clients), replace=False).tolist())


def draw_local_data(client: ClientDataset, epochs: int, random: np.random.Generator) -> ClientDataset:
    """Everything that a client reads in one round: its examples `epochs` times over, in a new order each time."""
    order = np.concatenate([random.permutation(len(client.label)) for _ in range(epochs)])
    return ClientDataset(client.token_ids[order], client.label[order])
