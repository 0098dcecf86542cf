"""The training loop: draw a cohort, let the server run the round, judge now and then, report.

Everything random in it is drawn from a generator that is keyed by (seed, round), so round 7 draws the same whether or
not the process ran rounds 1 to 6, and the next cohort can be drawn and packed while this one trains.
"""

import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import numpy as np
from msgspec import UNSET
from numpy.typing import ArrayLike

from federated.algorithms.definition import Leaves
from federated.config import Config
from federated.data.clients import ClientDataset
from federated.engines.cohort import Cohort
from federated.errors import DivergenceError
from federated.server import Server
from worker.messages import RoundRecord

Item = TypeVar("Item")


def run_rounds(
    server: Server,
    clients: Sequence[ClientDataset],
    config: Config,
    *,
    run: str,
    evaluate: Callable[[Leaves], dict[str, float]],
    reports: Sequence[Callable[[RoundRecord], None]],
) -> dict[str, float]:
    """Runs all rounds of `config`.

    Args:
        server: holds the model.
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
    latest: deque[Leaves] = deque(maxlen=training.averaged_rounds)
    cohorts = (draw_round(clients, config, number) for number in range(1, training.rounds + 1))
    started = time.monotonic()
    for cohort, packed in prefetch((cohort, server.pack(cohort)) for cohort in cohorts):
        judged = cohort.number % training.evaluate_every == 0 or cohort.number == training.rounds
        try:
            train = server.run_round(cohort, packed)
            latest.append(server.weights)
            _require_finite("the loss", train["loss"])
            _require_finite("a weight of the model", *latest[-1])
            heldout = evaluate(average(latest)) if judged else UNSET
        except FloatingPointError as error:
            raise _diverged(config, cohort.number, str(error)) from error
        record = RoundRecord(
            run=run,
            round=cohort.number,
            rounds=training.rounds,
            timestamp_ms=time.time_ns() // 1_000_000,
            seconds=time.monotonic() - started,
            clients=cohort.clients,
            examples=sum(len(clients[client].label) for client in cohort.clients),
            train=train,
            heldout=heldout,
        )
        for report in reports:
            report(record)
        started = time.monotonic()
    return heldout


def draw_round(clients: Sequence[ClientDataset], config: Config, number: int) -> Cohort:
    """Draws who takes part in a round, and in which order each of them reads its examples."""
    random = np.random.default_rng([config.seed, number])
    chosen = draw_cohort(len(clients), config.training.clients_per_round, random)
    data = [draw_local_data(clients[client], config.training.local_epochs, random) for client in chosen]
    return Cohort(config.seed, number, chosen, data)


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Makes the next item in a thread while the caller works on this one."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        following = thread.submit(next, items, None)
        while (item := following.result()) is not None:
            following = thread.submit(next, items, None)
            yield item


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


def average(models: Collection[Leaves]) -> Leaves:
    """Mean of each weight, in the order of the models."""
    return [np.mean(weights, axis=0) for weights in zip(*models, strict=True)]


def draw_cohort(clients: int, size: int, random: np.random.Generator) -> list[int]:
    """Draws `size` of the clients without replacement; all of them if there are not as many."""
    return sorted(random.choice(clients, size=min(size, clients), replace=False).tolist())


def draw_local_data(client: ClientDataset, epochs: int, random: np.random.Generator) -> ClientDataset:
    """Everything that a client reads in one round: its examples `epochs` times over, in a new order each time."""
    order = np.concatenate([random.permutation(len(client.label)) for _ in range(epochs)])
    return ClientDataset(client.token_ids[order], client.label[order])
