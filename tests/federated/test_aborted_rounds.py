"""Rounds in which too few clients answer are skipped, counted and recorded, and change nothing.

Server, aggregation and rounds are those of every run; only the clients' training is a line of NumPy.
"""

from typing import NamedTuple

import numpy as np
import pytest

from federated.aggregation import reference
from federated.aggregation.pipeline import Pipeline
from federated.aggregation.settings import AggregationSettings
from federated.algorithms.definition import WEIGHTS, Algorithm, CohortResult
from federated.config import Config, TrainingConfig
from federated.data.availability import AvailabilitySettings, answers
from federated.data.clients import ClientDataset
from federated.errors import AggregationError
from federated.progress import describe
from federated.rounds import run_rounds
from federated.run_state import RunState
from federated.server import Server

pytestmark = pytest.mark.fast

ROUNDS, COHORT = 30, 6
SHAPE = (3,)
CLIENTS = [ClientDataset(np.ones((n + 1, 1), np.int32), np.arange(n + 1, dtype=np.int32)) for n in range(9)]
SECURE = AggregationSettings(clip=8.0, secure_sum=True, secure_threshold=0.6)
LEAST = 4
"""Of six chosen clients 0.6 have to answer."""


def learn(data: ClientDataset) -> list[np.ndarray]:
    """A client's update: the mean of its labels, to be told from the others'."""
    return [np.array([data.label.mean(), 1.0, -1.0])]


class Engine:
    """Runs clients one after the other, with the aggregation's steps in NumPy."""

    def __init__(self, aggregation: Pipeline) -> None:
        self.aggregation = aggregation

    def pack(self, cohort):
        return cohort.data

    def run(self, packed, *, broadcasts, client_states, local):
        done = [
            self.aggregation.client(learn(data), np.float64(len(data.label)), broadcasts[1], mine)
            for data, mine in zip(packed, local, strict=True)
        ]
        updates, weights, _ = zip(*done, strict=True)
        if self.aggregation.stacked:
            return CohortResult([], np.stack([leaf for (leaf,) in updates]), np.array(weights), client_states, {})
        total = [sum(leaves) for leaves in zip(*updates, strict=True)]
        return CohortResult(total, None, np.array(weights), client_states, {})


ALGORITHM = Algorithm(
    name="sum",
    init=lambda weights: {WEIGHTS: weights},
    init_client=lambda weights: [],
    broadcast=lambda state, number: [],
    client_update=None,
    server_update=lambda state, update, number, clients: {WEIGHTS: [state[WEIGHTS][0] + update[0]]},
)


class Result(NamedTuple):
    records: list
    models: list[np.ndarray]
    """After each round."""
    state: RunState


def train(settings: AggregationSettings, availability: AvailabilitySettings, *, rounds: int = ROUNDS) -> Result:
    aggregation = Pipeline(settings, [SHAPE], steps=reference, seed=1, dtype=np.float64)
    server = Server(ALGORITHM, aggregation, Engine(aggregation), initial=[np.zeros(SHAPE)])
    training = TrainingConfig(rounds=rounds, clients_per_round=COHORT, evaluate_every=1)
    config = Config(preset="test", training=training, availability=availability)
    state, records, models = RunState(training), [], []
    run_rounds(
        server,
        CLIENTS,
        config,
        state,
        run="test",
        evaluate=lambda weights: {"accuracy": 0.5, "macro_f1": 0.5},
        reports=[records.append, lambda record: models.append(server.weights[0])],
        save=lambda *, last: None,
    )
    return Result(records, models, state)


@pytest.fixture(scope="module")
def dropping():
    return train(SECURE, AvailabilitySettings(dropout=0.4))


def test_a_secure_sum_below_its_threshold_is_skipped_counted_and_recorded(dropping):
    skipped = [record for record in dropping.records if "skipped" in record.train]
    assert len(dropping.records) == ROUNDS
    assert 0 < len(skipped) < ROUNDS
    assert dropping.state.skipped == len(skipped)
    for record in dropping.records:
        assert ("skipped" in record.train) == (len(record.clients) < LEAST)
        assert len(record.clients) + record.train.get("silent", 0) == COHORT
    assert "skipped, because too few clients answered" in describe(skipped[0])


def test_a_skipped_round_leaves_the_model_as_it_was(dropping):
    before = [np.zeros(SHAPE), *dropping.models]
    for record, old, new in zip(dropping.records, before, dropping.models, strict=False):
        assert (old.tobytes() == new.tobytes()) == ("skipped" in record.train)


def test_a_secure_sum_that_some_left_is_the_mean_of_the_others(dropping):
    before = [np.zeros(SHAPE), *dropping.models]
    for record, old, new in zip(dropping.records, before, dropping.models, strict=False):
        if "skipped" not in record.train:
            data = [CLIENTS[client] for client in record.clients]
            expected = np.average([learn(one)[0] for one in data], axis=0, weights=[len(one.label) for one in data])
            # Fixed point: below the 1,024 that a client may weigh, 18 bits are left.
            np.testing.assert_allclose(new - old, expected, atol=1e-4)


@pytest.mark.parametrize("settings", [AggregationSettings(), SECURE, AggregationSettings(combine="median")])
def test_a_round_to_which_nobody_comes_is_skipped(settings):
    found = train(settings, AvailabilitySettings(available=0.1))
    nobody = [number for number, record in enumerate(found.records) if not record.clients]
    assert nobody
    assert found.state.skipped == sum("skipped" in record.train for record in found.records) >= len(nobody)
    assert all(found.records[number].train["skipped"] == 1 for number in nobody)


def test_krum_skips_the_rounds_that_are_too_small_for_it():
    found = train(AggregationSettings(combine="krum"), AvailabilitySettings(dropout=0.6))
    assert {len(record.clients) < 3 for record in found.records if "skipped" in record.train} == {True}
    assert 0 < found.state.skipped < ROUNDS


def test_who_drops_out_begins_the_secure_sum_all_the_same():
    """Otherwise the threshold would be a share of those who came, and never be missed."""
    availability = AvailabilitySettings(dropout=0.4)
    record = train(SECURE, availability, rounds=1).records[0]
    stays = answers(availability, key=1, number=1, clients=len(CLIENTS))
    assert all(stays[client] for client in record.clients)
    assert record.train["silent"] == COHORT - len(record.clients) > 0


def test_a_run_without_a_single_round_is_one_clear_error():
    with pytest.raises(AggregationError, match=r"in every one of 3 rounds. Raise availability.available or training"):
        train(AggregationSettings(), AvailabilitySettings(available=1e-6), rounds=3)
