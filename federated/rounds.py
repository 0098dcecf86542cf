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
from numpy.typing import ArrayLike, NDArray

from federated.config import Config
from federated.data.clients import ClientDataset
from federated.errors import DivergenceError
from worker.messages import RoundRecord

Weights = list[NDArray[np.float32]]


class Engine(Protocol):
    """Executes rounds."""

    def run_round(self, cohort: Sequence[ClientDataset]) -> dict[str, float]:
        """Updates the server's model from the clients of `cohort`; returns training metrics, ``loss`` among them.

        Raises:
            FloatingPointError: an update was left out, because it is not finite.
        """

    def weights(self) -> Weights:
        """The server's model."""


def run_rounds(
    engine: Engine,
    clients: Sequence[ClientDataset],
    config: Config,
    *,
    run: str,
    evaluate: Callable[[Weights], dict[str, float]],
    reports: Sequence[Callable[[RoundRecord], None]],
) -> dict[str, float]:
    """Runs all rounds of `config`.

    Args:
        engine: executes them.
        clients: the federation; `RoundRecord.clients` are indices into it.
        config: how many rounds, clients a round and local epochs; the seed, see the module.
        run: name of the run in the records.
        evaluate: weights -> held-out metrics; raises FloatingPointError if the weights give none.
        reports: get each round's record as soon as the round is over.

    Returns:
        Held-out metrics after the last round.

    Raises:
        DivergenceError: a round's numbers are not finite. It is not reported.
    """
    training = config.training
    latest: deque[Weights] = deque(maxlen=training.averaged_rounds)
    for number in range(1, training.rounds + 1):
        started = time.monotonic()
        random = np.random.default_rng([config.seed, number])
        chosen = draw_cohort(len(clients), training.clients_per_round, random)
        cohort = [draw_local_data(clients[client], training.local_epochs, random) for client in chosen]
        judged = number % training.evaluate_every == 0 or number == training.rounds
        try:
            train = engine.run_round(cohort)
            latest.append(engine.weights())
            _require_finite("the loss", train["loss"])
            _require_finite("a weight of the model", *latest[-1])
            heldout = evaluate(average(latest)) if judged else UNSET
        except FloatingPointError as error:
            raise _diverged(config, number, str(error)) from error
        record = RoundRecord(
            run=run,
            round=number,
            rounds=training.rounds,
            timestamp_ms=time.time_ns() // 1_000_000,
            seconds=time.monotonic() - started,
            clients=chosen,
            examples=sum(len(clients[client].label) for client in chosen),
            train=train,
            heldout=heldout,
        )
        for report in reports:
            report(record)
    return heldout


def _require_finite(name: str, *values: ArrayLike) -> None:
    if not all(np.isfinite(value).all() for value in values):
        raise FloatingPointError(f"{name} is not finite")


def _diverged(config: Config, number: int, what: str) -> DivergenceError:
    training = config.training
    return DivergenceError(
        f"training diverged in round {number} of {training.rounds}: {what}. No model was written. Lower "
        f"training.client_learning_rate ({training.client_learning_rate:g}) or training.server_learning_rate "
        f"({training.server_learning_rate:g}) of preset {config.preset} with --set."
    )


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
