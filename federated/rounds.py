"""The training loop: draw a cohort, let the server run the round, judge now and then, report.

Everything random in it is drawn from a generator that is keyed by (seed, round), so round 7 draws the same whether or
not the process ran rounds 1 to 6, and the next cohort can be drawn and packed while this one trains.
"""

import contextlib
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeVar

import numpy as np
from msgspec import UNSET, UnsetType
from numpy.typing import ArrayLike

from federated.algorithms.definition import Leaves
from federated.config import Config
from federated.data.availability import answers, available
from federated.data.clients import ClientDataset
from federated.engines.cohort import Cohort
from federated.errors import AbortedRoundError, AggregationError, DivergenceError
from federated.privacy.opening import Privacy
from federated.run_state import RunState
from federated.server import Server
from worker.messages import RoundRecord

Item = TypeVar("Item")

_ENOUGH = (
    "Raise availability.available or training.clients_per_round, or lower availability.dropout, "
    "aggregation.secure_threshold or aggregation.liars."
)


class Outcome(NamedTuple):
    """What the rounds have led to."""

    weights: Leaves
    """The model: that of the latest rounds, or the best one where training stops early."""
    metrics: dict[str, float]
    """Its held-out figures."""
    rounds: int
    """How many there were."""
    skipped: int
    """Of them: too few clients answered, and nothing was learned."""


def run_rounds(
    server: Server,
    clients: Sequence[ClientDataset],
    config: Config,
    state: RunState,
    *,
    run: str,
    evaluate: Callable[[Leaves], dict[str, float]],
    reports: Sequence[Callable[[RoundRecord], None]],
    save: Callable[..., None],
    privacy: Privacy | None = None,
) -> Outcome:
    """Runs the rounds of `config` that `state` has not seen.

    Args:
        server: holds the model.
        clients: the federation; `RoundRecord.clients` are indices into it.
        config: how many rounds, clients a round and local epochs; the seed, see the module.
        state: how far the run is; advanced with it.
        run: name of the run in the records.
        evaluate: weights -> held-out metrics; raises FloatingPointError if the weights give none.
        reports: get each round's record as soon as the round is over.
        save: called after each round, with ``last=True`` after the last; may save `server` and `state`.
        privacy: draws the cohorts, which then stay out of the records.

    Raises:
        AggregationError: too few clients answered, in every single round.
        DivergenceError: a round's numbers are not finite. It is not reported.
    """
    numbers = range(state.number + 1, config.training.rounds + 1)
    cohorts = (draw_round(clients, config, number, privacy) for number in numbers)
    started = time.monotonic()
    with contextlib.closing(prefetch((cohort, server.pack(cohort)) for cohort in cohorts)) as rounds:
        for cohort, packed in () if state.stopped else rounds:
            train, heldout = _run_round(
                server,
                cohort,
                packed,
                config=config,
                state=state,
                evaluate=evaluate,
                privacy=privacy,
                most=len(clients),
            )
            seconds = time.monotonic() - started
            record = _describe(run, config, cohort, train, heldout, seconds=seconds, privacy=privacy)
            for report in reports:
                report(record)
            state.number = cohort.number
            save(last=state.stopped or cohort.number == config.training.rounds)
            started = time.monotonic()
            if state.stopped:
                break
    if state.skipped == state.number:
        raise AggregationError(f"too few clients answered in every one of {state.number} rounds. {_ENOUGH}")
    if state.stop:
        return Outcome(state.stop.weights, state.stop.metrics, state.number, state.skipped)
    return Outcome(average(state.latest), state.heldout, state.number, state.skipped)


def _run_round(
    server: Server,
    cohort: Cohort,
    packed: object,
    *,
    config: Config,
    state: RunState,
    evaluate: Callable[[Leaves], dict[str, float]],
    privacy: Privacy | None,
    most: int,
) -> tuple[dict[str, float], dict[str, float] | UnsetType]:
    """Trains a cohort, of `most` clients at most, and, if it is time, judges the model; returns both figures."""
    training = config.training
    try:
        train = _learn(server, cohort, packed, state)
        model = server.weights
        if privacy:
            # No noise covers what a cohort computed: it must not decide whether the run goes on.
            train = {name: value for name, value in train.items() if np.isfinite(value)}
        _require_finite("the loss", train.get("loss", 0.0))
        _require_finite("a weight of the model", *model)
        state.latest.append(model)
        if not privacy and (missing := min(training.clients_per_round, most) - len(cohort.clients) - cohort.silent):
            train["missing"] = float(missing)
        traffic = server.measure_traffic(eight_bits=config.aggregation.eight_bits)
        # How many come to a private round is not told.
        answered = privacy.plan.mechanism.cohort if privacy else len(cohort.clients)
        train["bytes"] = traffic.total(answered=answered, silent=cohort.silent)
        if cohort.number % training.evaluate_every and cohort.number != training.rounds:
            return train, UNSET
        mean = average(state.latest)
        state.heldout = evaluate(mean)
    except FloatingPointError as error:
        raise _diverged(config, cohort.number, str(error)) from error
    if state.stop:
        state.stop.observe(state.heldout, mean)
    return train, state.heldout


def _learn(server: Server, cohort: Cohort, packed: object, state: RunState) -> dict[str, float]:
    """Trains a cohort, unless too few of it answer; returns the round's figures."""
    try:
        train = server.run_round(cohort, packed)
    except AbortedRoundError:
        state.skipped += 1
        train = {"skipped": 1.0}
    if cohort.silent:
        train["silent"] = float(cohort.silent)
    return train


def _describe(
    run: str,
    config: Config,
    cohort: Cohort,
    train: dict[str, float],
    heldout: dict[str, float] | UnsetType,
    *,
    seconds: float,
    privacy: Privacy | None,
) -> RoundRecord:
    """The record of a round that is over."""
    return RoundRecord(
        run=run,
        round=cohort.number,
        rounds=config.training.rounds,
        timestamp_ms=time.time_ns() // 1_000_000,
        seconds=seconds,
        # Who was in a private cohort is what its privacy hides, and a sum of their examples could tell.
        clients=[] if privacy else cohort.clients,
        examples=0 if privacy else sum(len(data.label) for data in cohort.data) // config.training.local_epochs,
        train={**train, "epsilon": privacy.ledger.spent} if privacy else train,
        heldout=heldout,
    )


def draw_round(clients: Sequence[ClientDataset], config: Config, number: int, privacy: Privacy | None = None) -> Cohort:
    """Draws who takes part in a round, and in which order each of them reads its examples; there may be nobody."""
    random = np.random.default_rng([config.seed, number])
    if privacy:
        chosen, silent = privacy.draw_cohort(number), 0
    else:
        chosen, silent = _draw_present(len(clients), config, number, random)
    data = [draw_local_data(clients[client], config.training.local_epochs, random) for client in chosen]
    return Cohort(config.seed, number, chosen, data, silent)


def _draw_present(clients: int, config: Config, number: int, random: np.random.Generator) -> tuple[list[int], int]:
    """Clients who are there, are chosen, and answer; and how many of the chosen do not."""
    key = {"key": config.seed, "number": number, "clients": clients}
    there = np.flatnonzero(available(config.availability, **key))
    chosen = there[draw_cohort(len(there), config.training.clients_per_round, random)]
    # Who will not answer in time need not train: nobody would see the difference.
    answering = chosen[answers(config.availability, **key)[chosen]].tolist()
    return answering, len(chosen) - len(answering)


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
        f"({training.server_learning_rate:g}) of preset {config.preset} with --set, in another --log-dir: resumed as "
        "it is, this run would diverge again."
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
