"""The algorithms that TensorFlow Federated has, beside its own: same first weights, same batches, three rounds."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

from federated.algorithms.choice import build_algorithm
from federated.algorithms.mean import WeightedMean
from federated.config import TrainingConfig
from federated.data.clients import ClientDataset
from federated.engines.cohort import Cohort, plan_shapes
from federated.engines.opening import open_engine
from federated.engines.tff import execution_context
from federated.server import Server

pytestmark = pytest.mark.train

VOCABULARY, CLASSES, T, BATCH = 7, 3, 5, 4
SIZES = [9, 3, 4, 8, 1, 7, 5]
COHORTS = [[0, 1, 2, 3, 4, 5], [3, 5, 0], [6, 1, 2, 4, 5, 0]]
RATE, SERVER_RATE, BETA, MU, EPSILON = 0.5, 0.1, 0.7, 0.3, 1e-3
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-9}

optimizers, algorithms = tff.learning.optimizers, tff.learning.algorithms


def apply(weights, features, key, *, training):
    embedded = tf.gather(weights[0], features["token_ids"])
    return tf.tanh(tf.reduce_mean(embedded, axis=1)) @ weights[1], None


def client(examples: int, seed: int) -> ClientDataset:
    random = np.random.default_rng(seed)
    return ClientDataset(
        random.integers(0, VOCABULARY, (examples, T), dtype=np.int32),
        random.integers(0, CLASSES, examples, dtype=np.int32),
    )


CLIENTS = [client(size, seed) for seed, size in enumerate(SIZES)]


def first(dtype: type) -> list[np.ndarray]:
    random = np.random.default_rng(3)
    return [random.normal(0, 0.7, shape).astype(dtype) for shape in ((VOCABULARY, 4), (4, CLASSES))]


def run(training: dict, dtype: type, change=lambda algorithm: algorithm) -> list[np.ndarray]:
    config = TrainingConfig(batch_size=BATCH, client_learning_rate=RATE, server_learning_rate=SERVER_RATE, **training)
    algorithm = change(build_algorithm(apply, config, clients=len(CLIENTS)))
    shapes = plan_shapes(SIZES, epochs=1, batch_size=BATCH, max_tokens=T)
    with open_engine("xla", algorithm, WeightedMean(), shapes=shapes) as engine:
        server = Server(algorithm, WeightedMean(), engine, initial=first(dtype))
        for number, clients in enumerate(COHORTS, start=1):
            cohort = Cohort(1, number, clients, [CLIENTS[client] for client in clients])
            server.run_round(cohort, server.pack(cohort))
        return server.weights


def build_stock_model(dtype: type) -> tff.learning.models.FunctionalModel:
    @tf.function
    def predict(weights, token_ids, training):
        return apply(list(weights[0]), {"token_ids": token_ids}, None, training=training)[0]

    @tf.function
    def loss(logits, label, sample_weight=None):
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits))

    return tff.learning.models.FunctionalModel(
        initial_weights=(tuple(first(dtype)), ()),
        predict_on_batch_fn=predict,
        loss_fn=loss,
        input_spec=(tf.TensorSpec([None, T], tf.int32), tf.TensorSpec([None], tf.int32)),
    )


def run_stock(process) -> list[np.ndarray]:
    state = process.initialize()
    for clients in COHORTS:
        data = [tf.data.Dataset.from_tensor_slices(tuple(CLIENTS[client])).batch(BATCH) for client in clients]
        state = process.next(state, data).state
    return [np.asarray(leaf) for leaf in process.get_model_weights(state).trainable]


def fed_avg(server_optimizer):
    return lambda model: algorithms.build_weighted_fed_avg(
        model, client_optimizer_fn=optimizers.build_sgdm(RATE), server_optimizer_fn=server_optimizer
    )


def fed_prox(model):
    return algorithms.build_weighted_fed_prox(
        model,
        proximal_strength=MU,
        client_optimizer_fn=optimizers.build_sgdm(RATE),
        server_optimizer_fn=optimizers.build_sgdm(SERVER_RATE),
    )


def fed_sgd(model):
    return algorithms.build_fed_sgd(model, server_optimizer_fn=optimizers.build_sgdm(SERVER_RATE))


def mime_lite(model):
    return algorithms.build_weighted_mime_lite(
        model,
        base_optimizer=optimizers.build_sgdm(RATE, momentum=BETA),
        server_optimizer=optimizers.build_sgdm(SERVER_RATE),
    )


ADAPTIVE = {"server_epsilon": EPSILON}
ORACLES = {
    "fedavg": ({"server_optimizer": "sgd"}, fed_avg(optimizers.build_sgdm(SERVER_RATE))),
    "fedavgm": (
        {"server_optimizer": "sgd", "server_momentum": BETA},
        fed_avg(optimizers.build_sgdm(SERVER_RATE, momentum=BETA)),
    ),
    "fedadam": (
        {"server_optimizer": "adam", **ADAPTIVE},
        fed_avg(optimizers.build_adam(SERVER_RATE, epsilon=EPSILON)),
    ),
    "fedyogi": (
        {"server_optimizer": "yogi", **ADAPTIVE},
        fed_avg(optimizers.build_yogi(SERVER_RATE, epsilon=EPSILON)),
    ),
    "fedadagrad": (
        {"server_optimizer": "adagrad", **ADAPTIVE},
        fed_avg(optimizers.build_adagrad(SERVER_RATE, epsilon=EPSILON)),
    ),
    # Version 0.87 has the sign of the term wrong: it pushes clients away. `test_algorithms` holds the right one.
    "fedprox": ({"server_optimizer": "sgd", "proximal": -MU}, fed_prox),
    "fedsgd": ({"algorithm": "fedsgd", "server_optimizer": "sgd"}, fed_sgd),
    "mimelite": ({"algorithm": "mimelite", "server_optimizer": "sgd", "client_momentum": BETA}, mime_lite),
}
IN_FLOAT64 = ("fedavg", "fedprox")
"""The others keep rates and constants in float32; `test_algorithms` and `test_server_optimizers` have twins of them."""


@pytest.fixture(scope="module")
def worker():
    with execution_context() as server:
        yield server


@pytest.fixture(scope="module")
def stock(worker):
    """Weights of TensorFlow Federated's own, each run once."""
    results = {}

    def get(name: str, dtype: type) -> list[np.ndarray]:
        if (name, dtype) not in results:
            results[name, dtype] = run_stock(ORACLES[name][1](build_stock_model(dtype)))
        return results[name, dtype]

    return get


def distance(one: list[np.ndarray], other: list[np.ndarray]) -> float:
    return max(np.abs(a - b).max() for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize(
    ("name", "dtype"), [*((name, np.float32) for name in ORACLES), *((name, np.float64) for name in IN_FLOAT64)]
)
def test_equals_the_algorithm_of_tensorflow_federated(stock, name, dtype):
    trained, expected = run(ORACLES[name][0], dtype), stock(name, dtype)
    assert distance(trained, first(dtype)) > 0.01
    assert distance(trained, expected) <= TOLERANCE[dtype]


@pytest.mark.parametrize("name", ORACLES)
def test_a_fault_would_be_seen(stock, spoil, name):
    trained = run(ORACLES[name][0], np.float32, spoil)
    assert distance(trained, stock(name, np.float32)) > 100 * TOLERANCE[np.float32]
