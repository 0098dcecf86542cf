"""Algorithms that TensorFlow Federated lacks, beside twins in plain NumPy, written from the papers' pseudocode.

The model is linear in the counts of its tokens, so that the twins can differentiate it by hand. All in float64.
"""

import contextlib

import numpy as np
import pytest
import tensorflow as tf

from federated.aggregation import compiled
from federated.aggregation.attacks import AttackedAggregation
from federated.aggregation.pipeline import Pipeline
from federated.aggregation.settings import AggregationSettings
from federated.algorithms import ditto, fed_avg, fed_nova, local, mime_lite, scaffold
from federated.algorithms.choice import build_algorithm
from federated.algorithms.definition import Batches
from federated.algorithms.fine_tuning import build_fine_tuning
from federated.algorithms.mean import WeightedMean
from federated.config import TrainingConfig
from federated.data.clients import ClientDataset
from federated.engines.cohort import Cohort, plan_shapes
from federated.engines.opening import open_engine
from federated.engines.tff import TffEngine, execution_context
from federated.server import Server
from federated.traffic import measure_traffic

pytestmark = pytest.mark.train

VOCABULARY, CLASSES, T, BATCH = 7, 3, 5, 4
SIZES = [9, 3, 4, 8, 1, 7, 5]
COHORTS = [[0, 1, 2, 3, 4, 5], [3, 5, 0], [6, 1, 2, 4, 5, 0]]
RATE, SERVER_RATE, BETA, PULL = 0.5, 0.8, 0.7, 0.3
OPTIONS = {"fedprox": {"proximal": PULL}, "mimelite": {"client_momentum": BETA}, "ditto": {"personal_pull": PULL}}


def apply(weights, features, key, *, training):
    counts = tf.reduce_sum(tf.one_hot(features["token_ids"], VOCABULARY, dtype=weights[0].dtype), axis=1)
    return counts @ weights[0] + weights[1], None


def client(examples: int, seed: int) -> ClientDataset:
    random = np.random.default_rng(seed)
    return ClientDataset(
        random.integers(0, VOCABULARY, (examples, T), dtype=np.int32),
        random.integers(0, CLASSES, examples, dtype=np.int32),
    )


CLIENTS = [client(size, seed) for seed, size in enumerate(SIZES)]
FIRST = np.random.default_rng(1).normal(0, 0.3, (VOCABULARY + 1, CLASSES))
"""Kernel and, in the last row, bias."""


def settings(name: str) -> TrainingConfig:
    return TrainingConfig(
        algorithm="fedavg" if name == "fedprox" else name,
        batch_size=BATCH,
        clients_per_round=len(COHORTS[0]),
        client_learning_rate=RATE,
        server_optimizer="sgd",
        server_learning_rate=SERVER_RATE,
        **OPTIONS.get(name, {}),
    )


def run(
    name: str,
    engine_name: str,
    *,
    change=None,
    dtype=np.float64,
    cohorts=COHORTS,
    data=CLIENTS,
    aggregation=WeightedMean(),  # noqa: B008 - it keeps nothing
) -> Server:
    algorithm = build_algorithm(apply, settings(name), clients=len(CLIENTS))
    if change:
        algorithm = change(algorithm)
    initial = [FIRST[:-1].astype(dtype), FIRST[-1].astype(dtype)]
    shapes = plan_shapes(SIZES, epochs=1, batch_size=BATCH, max_tokens=T)
    with contextlib.ExitStack() as stack:
        if engine_name == "tff":
            # The process that executes is started once for all tests.
            engine = TffEngine(algorithm, aggregation, shapes=shapes)
        else:
            engine = stack.enter_context(open_engine("xla", algorithm, aggregation, shapes=shapes))
        server = Server(algorithm, aggregation, engine, initial=initial)
        for number, clients in enumerate(cohorts, start=1):
            cohort = Cohort(1, number, clients, [data[client] for client in clients])
            server.run_round(cohort, server.pack(cohort))
    return server


def gradient(weights: np.ndarray, data: ClientDataset) -> np.ndarray:
    """Of the mean cross-entropy, by hand."""
    counts = np.array([np.bincount(row, minlength=VOCABULARY) for row in data.token_ids], float)
    inputs = np.hstack([counts, np.ones((len(counts), 1))])
    exponentials = np.exp(inputs @ weights)
    error = exponentials / exponentials.sum(axis=1, keepdims=True) - np.eye(CLASSES)[data.label]
    return inputs.T @ error / len(counts)


def batches(data: ClientDataset) -> list[ClientDataset]:
    starts = range(0, len(data.label), BATCH)
    return [ClientDataset(*(part[start : start + BATCH] for part in data)) for start in starts]


def descend(weights: np.ndarray, data: ClientDataset, direction) -> np.ndarray:
    for batch in batches(data):
        weights = weights - RATE * direction(weights, batch)
    return weights


def shares(clients: list[int]) -> np.ndarray:
    sizes = np.array([SIZES[client] for client in clients], float)
    return sizes / sizes.sum()


def fedsgd_twin():
    w = FIRST
    for clients in COHORTS:
        w = w - SERVER_RATE * sum(p * gradient(w, CLIENTS[i]) for p, i in zip(shares(clients), clients, strict=True))
    return w, {}


def fedprox_twin():
    w = FIRST
    for clients in COHORTS:
        moves = [descend(w, CLIENTS[i], lambda y, batch, w=w: gradient(y, batch) + PULL * (y - w)) - w for i in clients]
        w = w + SERVER_RATE * sum(share * move for share, move in zip(shares(clients), moves, strict=True))
    return w, {}


def fednova_twin():
    w = FIRST
    for clients in COHORTS:
        p, tau = shares(clients), np.array([len(batches(CLIENTS[i])) for i in clients])
        d = [(descend(w, CLIENTS[i], gradient) - w) / t for i, t in zip(clients, tau, strict=True)]
        w = w + SERVER_RATE * (p @ tau) * sum(share * change for share, change in zip(p, d, strict=True))
    return w, {}


def scaffold_twin():
    w, c, own = FIRST, np.zeros_like(FIRST), {i: np.zeros_like(FIRST) for i in range(len(CLIENTS))}
    for clients in COHORTS:
        moves, changes = [], []
        for i in clients:
            y = descend(w, CLIENTS[i], lambda y, batch, i=i, c=c: gradient(y, batch) - own[i] + c)
            new = own[i] - c + (w - y) / (len(batches(CLIENTS[i])) * RATE)
            moves.append(y - w)
            changes.append(new - own[i])
            own[i] = new
        w = w + SERVER_RATE * np.mean(moves, axis=0)
        c = c + len(clients) / len(CLIENTS) * np.mean(changes, axis=0)
    return w, {i: own[i] for i in {client for clients in COHORTS for client in clients}}


def mimelite_twin():
    w, m = FIRST, np.zeros_like(FIRST)
    for clients in COHORTS:
        p = shares(clients)
        moves = [descend(w, CLIENTS[i], lambda y, batch, m=m: BETA * m + gradient(y, batch)) - w for i in clients]
        m = BETA * m + sum(share * gradient(w, CLIENTS[i]) for share, i in zip(p, clients, strict=True))
        w = w + SERVER_RATE * sum(share * move for share, move in zip(p, moves, strict=True))
    return w, {}


def ditto_twin():
    w, own = FIRST, dict.fromkeys(range(len(CLIENTS)), FIRST)
    for clients in COHORTS:
        for i in clients:
            own[i] = descend(own[i], CLIENTS[i], lambda v, batch, w=w: gradient(v, batch) + PULL * (v - w))
        moves = [descend(w, CLIENTS[i], gradient) - w for i in clients]
        w = w + SERVER_RATE * sum(share * move for share, move in zip(shares(clients), moves, strict=True))
    return w, {i: own[i] for i in {client for clients in COHORTS for client in clients}}


TWINS = {
    "fedprox": fedprox_twin,
    "fedsgd": fedsgd_twin,
    "fednova": fednova_twin,
    "scaffold": scaffold_twin,
    "mimelite": mimelite_twin,
    "ditto": ditto_twin,
}


def distance(server: Server, name: str) -> float:
    """The largest difference between what was trained and its twin, the clients' states among it."""
    weights, states = TWINS[name]()
    found = {"server": server.weights, **server.client_states}
    expected = {"server": weights, **states}
    assert found.keys() == expected.keys()
    return max(np.abs(np.vstack([*found[who][:1], found[who][1]]) - expected[who]).max() for who in found)


@pytest.fixture(scope="module")
def worker():
    with execution_context() as server:
        yield server


@pytest.mark.parametrize("engine", ["xla", "tff"])
@pytest.mark.parametrize("name", TWINS)
def test_equals_its_twin(worker, name, engine):
    server = run(name, engine)
    assert np.abs(server.weights[0] - FIRST[:-1]).max() > 0.01
    assert distance(server, name) <= 1e-9


@pytest.mark.parametrize("name", TWINS)
def test_equals_its_twin_in_float32(name):
    server = run(name, "xla", dtype=np.float32)
    assert all(leaf.dtype == np.float32 for leaf in server.weights)
    assert distance(server, name) <= 1e-5


@pytest.mark.parametrize("engine", ["xla", "tff"])
@pytest.mark.parametrize("name", TWINS)
def test_a_fault_would_be_seen(worker, spoil, name, engine):
    assert distance(run(name, engine, change=spoil), name) > 1e-4


CORRECTED = {"fedprox": fed_avg, "scaffold": scaffold, "mimelite": mime_lite, "ditto": ditto, "fednova": fed_nova}


@pytest.mark.parametrize("name", CORRECTED)
def test_a_wrong_sign_inside_the_steps_would_be_seen(monkeypatch, name):
    monkeypatch.setattr(CORRECTED[name], "subtract", lambda after, before: local.subtract(before, after))
    assert distance(run(name, "xla"), name) > 1e-4


@pytest.mark.parametrize("name", TWINS)
def test_a_client_without_examples_changes_nothing(name):
    """In SCAFFOLD, which asks each client once, it still counts as one of those who were asked."""
    full, empty = [0, 1, 2, 3], client(0, 0)
    alone = run(name, "xla", cohorts=[full])
    beside = run(name, "xla", cohorts=[[*full, 4]], data=[*CLIENTS[:4], empty])
    share = 4 / 5 if name == "scaffold" else 1
    for first, before, after in zip([FIRST[:-1], FIRST[-1]], alone.weights, beside.weights, strict=True):
        assert after - first == pytest.approx((before - first) * share, abs=1e-12)
    if 4 in beside.client_states:
        assert_untouched(beside)


def assert_untouched(server: Server) -> None:
    for leaf, untouched in zip(server.client_states[4], server.untouched, strict=True):
        assert np.array_equal(leaf, untouched)


@pytest.mark.parametrize("name", ["fedavg", *TWINS])
def test_an_update_has_the_shapes_that_the_aggregation_is_told(name):
    algorithm = build_algorithm(apply, settings(name), clients=len(CLIENTS))
    state = algorithm.init([FIRST[:-1], FIRST[-1]])
    broadcast = [tf.constant(leaf) for leaf in algorithm.broadcast(state, 1)]
    own = [tf.constant(leaf) for leaf in algorithm.init_client(state["weights"])]
    arrays = [tf.constant(part[np.newaxis]) for part in (*CLIENTS[1], np.ones(SIZES[1], bool))]
    batches = Batches({"token_ids": arrays[0]}, *arrays[1:], tf.constant(0), tf.constant(1))
    update = algorithm.client_update(broadcast, own, batches, tf.zeros(3, tf.int32)).update
    assert [leaf.shape for leaf in update] == [leaf.shape for leaf in algorithm.update_like(state["weights"])]


MODEL_BYTES, RATE_BYTES = 4 * FIRST.size, 4
SENT = {
    "fedavg": (MODEL_BYTES + RATE_BYTES, MODEL_BYTES),
    "fedsgd": (MODEL_BYTES, MODEL_BYTES),
    "fednova": (MODEL_BYTES + RATE_BYTES, MODEL_BYTES + 4),
    "scaffold": (2 * MODEL_BYTES + RATE_BYTES, 2 * MODEL_BYTES),
    "mimelite": (2 * MODEL_BYTES + RATE_BYTES, 2 * MODEL_BYTES),
    "ditto": (MODEL_BYTES + RATE_BYTES, MODEL_BYTES),
}


@pytest.mark.parametrize("name", SENT)
def test_what_a_client_gets_and_sends_is_counted(name):
    algorithm = build_algorithm(apply, settings(name), clients=len(CLIENTS))
    state = algorithm.init([FIRST[:-1].astype(np.float32), FIRST[-1].astype(np.float32)])
    assert measure_traffic(algorithm, state, eight_bits=False) == SENT[name]


def test_eight_bits_are_a_byte_for_each_entry_and_a_scale_for_each_leaf():
    algorithm = build_algorithm(apply, settings("scaffold"), clients=len(CLIENTS))
    state = algorithm.init([FIRST[:-1].astype(np.float32), FIRST[-1].astype(np.float32)])
    assert measure_traffic(algorithm, state, eight_bits=True).up == 2 * (FIRST.size + 2 * 4)


@pytest.mark.parametrize("name", ["fednova", "scaffold", "mimelite"])
def test_whatever_leaves_a_client_goes_through_the_whole_aggregation(name):
    """A secure sum sees every leaf of an update; what comes out is the plain mean, up to its fixed point."""
    algorithm = build_algorithm(apply, settings(name), clients=len(CLIENTS))
    shapes = [leaf.shape for leaf in algorithm.update_like([FIRST[:-1], FIRST[-1]])]
    chosen = AggregationSettings(clip=50.0, secure_sum=True, weight_cap=max(SIZES))
    found, expected = (
        run(name, "xla", dtype=np.float32, aggregation=aggregation)
        for aggregation in (Pipeline(chosen, shapes, steps=compiled, seed=1), WeightedMean())
    )
    for leaf, plain in zip(found.weights, expected.weights, strict=True):
        assert leaf == pytest.approx(plain, abs=1e-4)


@pytest.mark.parametrize("secure_sum", [False, True])
def test_a_refused_client_does_not_count_among_those_whose_controls_moved(secure_sum):
    """SCAFFOLD's server control stands for the clients that were added up, not for those that were asked."""
    chosen = AggregationSettings(clip=50.0, secure_sum=secure_sum, weight_cap=1)
    shapes = [FIRST[:-1].shape, FIRST[-1].shape] * 2
    honest = Pipeline(chosen, shapes, steps=compiled, seed=1, dtype=np.float64)
    spoilt = AttackedAggregation(honest, frozenset([5]), np.nan, dtype=np.float64)
    without = [[client for client in clients if client != 5] for clients in COHORTS]
    found = run("scaffold", "xla", aggregation=spoilt)
    expected = run("scaffold", "xla", aggregation=honest, cohorts=without)
    for leaf, other in zip(found.state["control"], expected.state["control"], strict=True):
        assert np.abs(other).max() > 0.01
        # Of the secure sum's fixed point.
        assert leaf == pytest.approx(other, abs=1e-5 if secure_sum else 1e-9)


def fine_tune(data: list[ClientDataset], dtype: type = np.float64) -> list[list[np.ndarray]]:
    algorithm = build_fine_tuning(apply, rate=RATE)
    shapes = plan_shapes(SIZES, epochs=1, batch_size=BATCH, max_tokens=T)
    with open_engine("xla", algorithm, WeightedMean(), shapes=shapes) as engine:
        initial = [FIRST[:-1].astype(dtype), FIRST[-1].astype(dtype)]
        nothing = [[] for _ in data]
        broadcasts = algorithm.broadcast({"weights": initial}, 0), []
        packed = engine.pack(Cohort(1, 0, list(range(len(data))), data))
        return engine.run(packed, broadcasts=broadcasts, client_states=nothing, local=nothing).client_states


@pytest.mark.parametrize(("dtype", "tolerance"), [(np.float64, 1e-9), (np.float32, 1e-5)])
def test_fine_tuning_leaves_each_client_with_its_own_steps_from_the_shared_model(dtype, tolerance):
    for found, data in zip(fine_tune(CLIENTS, dtype), CLIENTS, strict=True):
        expected = descend(FIRST, data, gradient)
        assert np.vstack([found[0], found[1]]) == pytest.approx(expected, abs=tolerance)
