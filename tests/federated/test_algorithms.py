"""Algorithms that TensorFlow Federated lacks, beside twins in plain NumPy, written from the papers' pseudocode.

The model is linear in the counts of its tokens, so that the twins can differentiate it by hand. All in float64.
"""

import numpy as np
import pytest
import tensorflow as tf

from federated.algorithms import ditto, fed_avg, fed_nova, fed_sgd, local, mime_lite, scaffold
from federated.algorithms.choice import build_algorithm
from federated.algorithms.mean import WeightedMean
from federated.config import TrainingConfig
from federated.data.clients import ClientDataset
from federated.engines.cohort import Cohort, plan_shapes
from federated.engines.opening import open_engine
from federated.engines.tff import TffEngine, execution_context
from federated.server import Server

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


def run(name: str, engine_name: str) -> Server:
    algorithm = build_algorithm(apply, settings(name), clients=len(CLIENTS))
    initial = [FIRST[:-1], FIRST[-1]]
    shapes = plan_shapes(SIZES, epochs=1, batch_size=BATCH, max_tokens=T)
    if engine_name == "tff":
        engine = TffEngine(algorithm, WeightedMean(), shapes=shapes, state=algorithm.init(initial))
        return advance(Server(algorithm, WeightedMean(), engine, initial=initial))
    with open_engine(engine_name, algorithm, WeightedMean(), shapes=shapes, state={}) as engine:
        return advance(Server(algorithm, WeightedMean(), engine, initial=initial))


def advance(server: Server) -> Server:
    for number, clients in enumerate(COHORTS, start=1):
        cohort = Cohort(1, number, clients, [CLIENTS[client] for client in clients])
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
        c = c + len(COHORTS[0]) / len(CLIENTS) * np.mean(changes, axis=0)
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


HOMES = {"fedsgd": fed_sgd, "fednova": fed_nova, "scaffold": scaffold, "mimelite": mime_lite, "ditto": ditto}
HOMES["fedprox"] = fed_avg


@pytest.mark.parametrize("name", TWINS)
def test_a_dropped_mask_would_be_seen(monkeypatch, name):
    differentiate = local.differentiate

    def spoiled(apply, weights, batches, step, key):
        return differentiate(apply, weights, batches._replace(kept=tf.ones_like(batches.kept)), step, key)

    monkeypatch.setattr(local, "differentiate", spoiled)
    if hasattr(HOMES[name], "differentiate"):
        monkeypatch.setattr(HOMES[name], "differentiate", spoiled)
    assert distance(run(name, "xla"), name) > 1e-4


@pytest.mark.parametrize("name", ["fedprox", "fednova", "scaffold", "mimelite", "ditto"])
def test_a_wrong_sign_would_be_seen(monkeypatch, name):
    monkeypatch.setattr(HOMES[name], "subtract", lambda after, before: local.subtract(before, after))
    assert distance(run(name, "xla"), name) > 1e-4


@pytest.mark.parametrize("name", TWINS)
def test_a_wrong_weight_would_be_seen(monkeypatch, name):
    monkeypatch.setattr(
        WeightedMean, "client", lambda self, update, weight, *_: ([2 * leaf for leaf in update], weight, {})
    )
    assert distance(run(name, "xla"), name) > 1e-4
