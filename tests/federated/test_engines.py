"""Every engine beside a twin that runs the same definition client by client, batch by batch, without any padding."""

import contextlib
import os
import signal
from pathlib import Path

import msgspec
import numpy as np
import pytest
import tensorflow as tf

from federated.aggregation import compiled
from federated.aggregation.attacks import AttackedAggregation
from federated.aggregation.noise import draw_gaussian
from federated.aggregation.pipeline import Pipeline
from federated.aggregation.settings import AggregationSettings
from federated.algorithms.choice import build_algorithm
from federated.algorithms.definition import Algorithm
from federated.algorithms.fed_avg import build_fed_avg
from federated.algorithms.mean import WeightedMean
from federated.config import ModelConfig, TrainingConfig
from federated.data.clients import ClientDataset
from federated.engines.cohort import Cohort, plan_shapes
from federated.engines.opening import open_engine
from federated.engines.tff import TffEngine, execution_context
from federated.engines.xla import XlaEngine
from federated.errors import EngineError
from federated.models.block import Model, build_model
from federated.privacy.accountant import Mechanism
from federated.privacy.keys import KEY_BYTES, NoiseKey
from federated.privacy.ledger import begin_ledger
from federated.privacy.opening import Privacy
from federated.privacy.plan import PrivacyPlan
from federated.process import OwnedServer
from federated.server import Server

pytestmark = pytest.mark.train

VOCABULARY, CLASSES, T = 12, 3, 6
# Tracing a GRU or LSTM takes longer, and to an engine one model is as good as another.
MODEL = build_model(
    ModelConfig(encoder="simple_rnn", embedding_size=4, hidden_size=3, key_size=2, dropout=0.2),
    vocabulary_size=VOCABULARY,
    classes=CLASSES,
)
SGD = TrainingConfig(batch_size=4, client_learning_rate=0.5, server_optimizer="sgd", server_learning_rate=1.0)
ADAM = TrainingConfig(batch_size=4, client_learning_rate=0.5, server_learning_rate=0.01, server_epsilon=1e-3)
TOLERANCE = {np.float64: 1e-9, np.float32: 1e-5}


def client(examples: int, seed: int) -> ClientDataset:
    random = np.random.default_rng(seed)
    token_ids = random.integers(1, VOCABULARY, (examples, T), dtype=np.int32)
    token_ids[np.arange(T) >= random.integers(1, T + 1, (examples, 1))] = 0
    return ClientDataset(token_ids, random.integers(0, CLASSES, examples, dtype=np.int32))


SIZES = [9, 3, 4, 8, 1, 7, 5, 0]
CLIENTS_DATA = [client(size, seed) for seed, size in enumerate(SIZES)]
COHORTS = [[0, 1, 2, 3, 4, 5, 6, 7], [3, 7, 0], [6, 1, 2, 4, 5, 0, 3]]
"""More than a micro-shard, fewer, and more in another order; client 7 has nothing."""
SHAPES = plan_shapes(SIZES, epochs=1, batch_size=4, max_tokens=T)


def rounds():
    for number, clients in enumerate(COHORTS, start=1):
        yield Cohort(5, number, clients, [CLIENTS_DATA[client] for client in clients])


def first_weights(dtype: type, model: Model = MODEL) -> list[np.ndarray]:
    return [leaf.astype(dtype) for leaf in model.init(2)]


def train(engine, algorithm: Algorithm, dtype: type) -> list[np.ndarray]:
    server = Server(algorithm, WeightedMean(), engine, initial=first_weights(dtype))
    for cohort in rounds():
        server.run_round(cohort, server.pack(cohort))
    return server.weights


def train_on(name: str, algorithm: Algorithm, dtype: type) -> list[np.ndarray]:
    if name == "tff":
        # The process that executes is started once for all tests.
        return train(TffEngine(algorithm, WeightedMean(), shapes=SHAPES), algorithm, dtype)
    with open_engine(name, algorithm, WeightedMean(), shapes=SHAPES) as engine:
        return train(engine, algorithm, dtype)


def train_slowly(algorithm: Algorithm, dtype: type) -> list[np.ndarray]:
    """The same, in TensorFlow's eager mode: each batch as short as it is, sums in NumPy."""
    state = algorithm.init(first_weights(dtype))
    for cohort in rounds():
        broadcast = [tf.constant(leaf) for leaf in algorithm.broadcast(state, cohort.number)]
        total, weights = None, 0.0
        for number, data in zip(cohort.clients, cohort.data, strict=True):
            key = tf.constant([cohort.seed, cohort.number, number])
            output = algorithm.client_update(broadcast, [], Unpadded(data, SGD.batch_size), key)
            leaves = [leaf.numpy() * output.weight.numpy() for leaf in output.update]
            total = leaves if total is None else [a + b for a, b in zip(total, leaves, strict=True)]
            weights += output.weight.numpy()
        state = algorithm.server_update(state, [leaf / weights for leaf in total], cohort.number, len(cohort.clients))
    return state["weights"]


class Unpadded:
    """Stands for `Batches`, with batches of different lengths: an eager loop is one of Python, and may index lists."""

    def __init__(self, data: ClientDataset, batch_size: int) -> None:
        starts = range(0, len(data.label), batch_size)
        self.label = [tf.constant(data.label[start : start + batch_size]) for start in starts]
        self.features = {"token_ids": [tf.constant(data.token_ids[start : start + batch_size]) for start in starts]}
        self.kept = [tf.ones_like(label, tf.bool) for label in self.label]
        self.start, self.stop = 0, len(starts)


def distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))


def open_either(stack: contextlib.ExitStack, name: str, algorithm: Algorithm, aggregation, initial):
    """An engine for `stack` to end; the process that executes for ``tff`` is started once for all tests."""
    if name == "tff":
        return TffEngine(algorithm, aggregation, shapes=SHAPES)
    return stack.enter_context(open_engine(name, algorithm, aggregation, shapes=SHAPES))


@pytest.fixture(scope="module")
def worker() -> OwnedServer:
    with execution_context() as server:
        yield server


@pytest.fixture(scope="module")
def slow() -> dict[type, list[np.ndarray]]:
    return {dtype: train_slowly(build_fed_avg(MODEL.apply, ADAM), dtype) for dtype in TOLERANCE}


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", ["xla", "tff"])
def test_each_engine_equals_the_slow_twin(worker, slow, name, dtype):
    trained = train_on(name, build_fed_avg(MODEL.apply, ADAM), dtype)
    assert all(leaf.dtype == dtype for leaf in trained)
    assert distance(trained, first_weights(dtype)) > 0.01
    assert distance(trained, slow[dtype]) <= TOLERANCE[dtype]


@pytest.mark.parametrize("name", ["xla", "tff"])
def test_a_fault_would_be_seen(worker, slow, spoil, name):
    trained = train_on(name, spoil(build_fed_avg(MODEL.apply, ADAM)), np.float64)
    assert distance(trained, slow[np.float64]) > 1e-4


def test_the_number_of_threads_changes_no_bit():
    algorithm = build_fed_avg(MODEL.apply, SGD)
    results = []
    for threads in (1, 3):
        engine = XlaEngine(algorithm, WeightedMean(), shapes=SHAPES, threads=threads)
        results.append(train(engine, algorithm, np.float32))
        engine.close()
    assert all(one.tobytes() == other.tobytes() for one, other in zip(*results, strict=True))


def test_each_shape_is_compiled_once_and_there_are_at_most_four():
    algorithm, alone = build_fed_avg(MODEL.apply, SGD), [[client] for client in range(len(SIZES))]
    seen = set()
    with contextlib.closing(XlaEngine(algorithm, WeightedMean(), shapes=SHAPES)) as engine:
        server = Server(algorithm, WeightedMean(), engine, initial=first_weights(np.float32))
        for number, clients in enumerate([*alone[:-1], *COHORTS, *alone[:-1]], start=1):
            packed = server.pack(cohort := Cohort(5, number, clients, [CLIENTS_DATA[client] for client in clients]))
            server.run_round(cohort, packed)
            seen |= {shard.token_ids.shape for shard in packed}
        assert 1 < engine.compiled_shapes == len(seen) <= 4


class Charged(WeightedMean):
    """Its broadcasts cost something, as those of a differentially private round do."""

    def __init__(self):
        self.charged = []

    def broadcast(self, number):
        self.charged.append(number)
        return [np.zeros(2, np.float32)]


@pytest.mark.parametrize("name", ["xla", "tff"])
def test_nothing_is_charged_before_a_round_begins(worker, name):
    """What a run may still be refused for, room for its clients' states above all, comes after its engine."""
    algorithm, aggregation = build_fed_avg(MODEL.apply, SGD), Charged()
    initial = first_weights(np.float32)
    with contextlib.ExitStack() as stack:
        engine = open_either(stack, name, algorithm, aggregation, initial)
        server = Server(algorithm, aggregation, engine, initial=initial)
        assert aggregation.charged == []
        for cohort in rounds():
            server.run_round(cohort, server.pack(cohort))
    assert aggregation.charged == [1, 2, 3]


KEY = NoiseKey(bytes(KEY_BYTES), given=True)
NOISE, CLIP, EXPECTED = 2.0, 0.5, 4


@pytest.mark.parametrize("first", ["nobody", "somebody"])
@pytest.mark.parametrize("name", ["xla", "tff"])
def test_a_poisson_cohort_of_nobody_releases_its_noise(worker, tmp_path, name, first):
    mechanism = Mechanism(sampling="poisson", clients=len(SIZES), cohort=EXPECTED)
    plan = PrivacyPlan(
        mechanism=mechanism,
        epsilon=3.0,
        delta=1e-5,
        rounds=2,
        noise_multiplier=NOISE,
        cohort_cap=len(SIZES),
        curve=[0.0, 1.0, 2.0],
    )
    privacy = Privacy(begin_ledger(tmp_path / "ledger.json", plan, KEY), KEY)
    initial = first_weights(np.float32)
    shapes = [leaf.shape for leaf in initial]
    algorithm = build_fed_avg(MODEL.apply, SGD)
    aggregation = Pipeline(AggregationSettings(clip=CLIP), shapes, steps=compiled, seed=1, privacy=privacy)
    with contextlib.ExitStack() as stack:
        server = Server(
            algorithm, aggregation, open_either(stack, name, algorithm, aggregation, initial), initial=initial
        )
        models = [initial]
        for number, clients in enumerate([[], [3, 5]] if first == "nobody" else [[3, 5], []], start=1):
            cohort = Cohort(5, number, clients, [CLIENTS_DATA[client] for client in clients])
            server.run_round(cohort, server.pack(cohort))
            models.append(server.weights)
    empty = 1 if first == "nobody" else 2
    noise = draw_gaussian(KEY, empty, shapes, deviation=NOISE * CLIP)
    for before, after, drawn in zip(models[empty - 1], models[empty], noise, strict=True):
        assert after - before == pytest.approx(drawn / EXPECTED, abs=1e-5)
    assert privacy.ledger.charged_rounds == 2


class Everything(WeightedMean):
    """Gets every client's update by itself, and something for each client alone."""

    stacked = True

    def local(self, number, clients):
        return [[np.array([number, client], np.float64)] for client in clients]

    def client(self, update, weight, broadcast, local):
        return [*update, local[0]], weight, {"seen": tf.ones_like(weight)}

    def server(self, result, number):
        self.result = result
        return [np.zeros(1)]


@pytest.mark.parametrize("name", ["xla", "tff"])
def test_updates_can_be_had_one_by_one(worker, name):
    algorithm = build_fed_avg(MODEL.apply, SGD)
    state, aggregation = algorithm.init(first_weights(np.float64)), Everything()
    if name == "tff":
        engine = TffEngine(algorithm, aggregation, shapes=SHAPES)
    else:
        engine = XlaEngine(algorithm, aggregation, shapes=SHAPES)
    cohort = next(rounds())
    result = engine.run(
        engine.pack(cohort),
        broadcasts=(algorithm.broadcast(state, 1), []),
        client_states=[[] for _ in cohort.clients],
        local=aggregation.local(1, cohort.clients),
    )
    assert result.total == []
    assert result.weights.tolist() == SIZES
    assert result.metrics["seen"] == result.metrics["examples"] / np.mean(SIZES) == len(SIZES)
    broadcast = [tf.constant(leaf) for leaf in algorithm.broadcast(state, 1)]
    for client, (row, data) in enumerate(zip(result.stack, CLIENTS_DATA, strict=True)):
        update = algorithm.client_update(broadcast, [], Unpadded(data, 4), tf.constant([5, 1, client])).update
        expected = np.concatenate([*(np.ravel(leaf) for leaf in update), [1, client]])
        assert row == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", ["xla", "tff"])
@pytest.mark.parametrize("factor", [np.nan, np.inf])
def test_a_client_whose_update_is_not_finite_is_left_out_and_counted(worker, name, factor):
    """Its state stays as it was, and the others' round is as if it had not been asked."""
    algorithm = build_algorithm(MODEL.apply, msgspec.structs.replace(SGD, algorithm="ditto"), clients=len(SIZES))
    honest = Pipeline(AggregationSettings(), [leaf.shape for leaf in MODEL.init(2)], steps=compiled, seed=1)
    aggregation = AttackedAggregation(honest, frozenset([3]), factor)
    initial = first_weights(np.float32)
    with contextlib.ExitStack() as stack:
        engine = open_either(stack, name, algorithm, aggregation, initial)
        servers = [Server(algorithm, aggregation, engine, initial=initial) for _ in range(2)]
        figures = []
        for server, clients in zip(servers, ([0, 3, 5], [0, 5]), strict=True):
            cohort = Cohort(5, 1, clients, [CLIENTS_DATA[client] for client in clients])
            figures.append(server.run_round(cohort, server.pack(cohort)))
    with_liar, without = figures
    assert (with_liar.pop("refused"), without.pop("refused")) == (1, 0)
    assert with_liar == pytest.approx(without)
    assert distance(servers[0].weights, servers[1].weights) <= 1e-6
    assert distance(servers[0].client_states[3], initial) == 0


def test_an_update_that_is_not_finite_changes_nothing():
    algorithm = build_fed_avg(MODEL.apply, TrainingConfig(batch_size=4, client_learning_rate=1e38))
    with open_engine("xla", algorithm, WeightedMean(), shapes=SHAPES) as engine:
        server = Server(algorithm, WeightedMean(), engine, initial=first_weights(np.float32))
        before = server.state
        cohort = next(rounds())
        with pytest.raises(FloatingPointError, match="the mean of the clients' updates is not finite"):
            server.run_round(cohort, server.pack(cohort))
        assert server.state is before


def test_a_worker_that_dies_ends_the_run_with_its_status():
    algorithm = build_fed_avg(MODEL.apply, SGD)
    with execution_context() as server:
        engine = TffEngine(algorithm, WeightedMean(), shapes=SHAPES)
        (worker,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
        server.process.wait()
        with pytest.raises(EngineError, match=f"status {128 + signal.SIGKILL}"):
            train(engine, algorithm, np.float32)


def test_the_worker_runs_only_inside_the_block():
    with execution_context() as server:
        assert server.process.poll() is None
    assert server.process.poll() is not None
