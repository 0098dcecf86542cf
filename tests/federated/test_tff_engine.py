"""The engine in its real worker process, beside a twin that does the same in plain NumPy and TensorFlow."""

import os
import signal
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from federated.config import ModelConfig, TrainingConfig
from federated.data.clients import ClientDataset
from federated.engines.tff import TffEngine, execution_context
from federated.errors import EngineError
from federated.models.classifier import build_training_model
from federated.process import OwnedServer

pytestmark = pytest.mark.train

VOCABULARY, CLASSES, T = 12, 2, 6
# Tracing a GRU or LSTM takes seconds, and to the engine one model is as good as another.
MODEL = ModelConfig(encoder="simple_rnn", embedding_size=4, hidden_size=3, key_size=2)
BUILD = partial(build_training_model, MODEL, vocabulary_size=VOCABULARY, classes=CLASSES)
SGD = TrainingConfig(batch_size=4, client_learning_rate=0.5, server_optimizer="sgd", server_learning_rate=1.0)
ADAM = TrainingConfig(batch_size=4, client_learning_rate=0.5, server_optimizer="adam", server_learning_rate=0.01)


def client(examples: int, seed: int) -> ClientDataset:
    random = np.random.default_rng(seed)
    token_ids = random.integers(1, VOCABULARY, (examples, T), dtype=np.int32)
    token_ids[np.arange(T) >= random.integers(1, T + 1, (examples, 1))] = 0
    return ClientDataset(token_ids, random.integers(0, CLASSES, examples, dtype=np.int32))


COHORTS = [[client(9, 1), client(3, 2)], [client(4, 3), client(9, 1)], [client(5, 4)]]


@pytest.fixture(scope="module")
def worker() -> OwnedServer:
    with execution_context() as server:
        yield server


@pytest.fixture(scope="module")
def initial() -> list[np.ndarray]:
    tf.keras.utils.set_random_seed(2)
    return BUILD().get_weights()


def train(initial: list[np.ndarray], config: TrainingConfig) -> list[np.ndarray]:
    engine = TffEngine(BUILD, initial=initial, config=config)
    for cohort in COHORTS:
        engine.run_round(cohort)
    return engine.weights()


def train_slowly(
    initial: list[np.ndarray], config: TrainingConfig, step: Callable[[list, list, int], list]
) -> list[np.ndarray]:
    """Weighted FedAvg as Algorithm 1 of McMahan et al., 2017, writes it; `step` is the server's optimizer."""
    weights = [weight.astype(np.float64) for weight in initial]
    model = BUILD()
    loss = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    for number, cohort in enumerate(COHORTS, start=1):
        total = [np.zeros_like(weight) for weight in weights]
        for data in cohort:
            model.set_weights(weights)
            for start in range(0, len(data.label), config.batch_size):
                batch = slice(start, start + config.batch_size)
                with tf.GradientTape() as tape:
                    value = loss(data.label[batch], model(data.token_ids[batch]))
                gradients = tape.gradient(value, model.trainable_variables)
                for variable, gradient in zip(model.trainable_variables, gradients, strict=True):
                    variable.assign_sub(config.client_learning_rate * tf.convert_to_tensor(gradient))
            share = len(data.label) / sum(len(other.label) for other in cohort)
            deltas = [after - before for after, before in zip(model.get_weights(), weights, strict=True)]
            total = [sum_ + share * delta for sum_, delta in zip(total, deltas, strict=True)]
        weights = step(weights, total, number)
    return weights


def averaging(weights, deltas, number):
    return [weight + delta for weight, delta in zip(weights, deltas, strict=True)]


@pytest.fixture(scope="module")
def adapted(worker, initial) -> list[np.ndarray]:
    return train(initial, ADAM)


def adaptive() -> Callable[[list, list, int], list]:
    """FedAdam, Algorithm 2 of Reddi et al., 2021, with the bias correction of Adam itself."""
    first, second = [0.0] * 99, [0.0] * 99

    def step(weights, deltas, number):
        result = []
        for i, (weight, delta) in enumerate(zip(weights, deltas, strict=True)):
            first[i] = 0.9 * first[i] + 0.1 * delta
            second[i] = 0.999 * second[i] + 0.001 * delta**2
            rate = ADAM.server_learning_rate * np.sqrt(1 - 0.999**number) / (1 - 0.9**number)
            result.append(weight + rate * first[i] / (np.sqrt(second[i]) + 1e-7))
        return result

    return step


def test_federated_averaging_equals_its_slow_twin(worker, initial):
    for fast, slow in zip(train(initial, SGD), train_slowly(initial, SGD, averaging), strict=True):
        assert fast == pytest.approx(slow, abs=1e-6)


def test_the_adaptive_server_equals_its_slow_twin(adapted, initial):
    for fast, slow in zip(adapted, train_slowly(initial, ADAM, adaptive()), strict=True):
        # Where a delta is near the optimizer's epsilon, its last bit decides about a visible part of the step.
        assert fast == pytest.approx(slow, abs=1e-4)


def test_two_runs_give_the_same_weights_bit_for_bit(adapted, initial):
    for one, other in zip(adapted, train(initial, ADAM), strict=True):
        assert one.tobytes() == other.tobytes()


def test_starts_from_the_weights_that_it_was_given_and_reports_how_they_do_on_the_cohort(worker, initial):
    engine = TffEngine(BUILD, initial=initial, config=TrainingConfig(client_learning_rate=1e-30))
    assert all(map(np.array_equal, initial, engine.weights()))
    metrics = engine.run_round(COHORTS[0])
    model = BUILD()
    model.set_weights(initial)
    token_ids, label = (np.concatenate(parts) for parts in zip(*COHORTS[0], strict=True))
    logits = model(token_ids).numpy()
    assert metrics["accuracy"] == pytest.approx((logits.argmax(axis=1) == label).mean())
    losses = tf.keras.losses.sparse_categorical_crossentropy(label, logits, from_logits=True)
    assert metrics["loss"] == pytest.approx(float(tf.reduce_mean(losses)), abs=1e-5)


@pytest.mark.parametrize(
    ("batch_size", "what"),
    [
        pytest.param(1, "the model of a client", id="client"),
        # A single step is in range; the sum that the mean is taken of, weighted by examples, is not.
        pytest.param(512, "the mean of the clients' updates", id="mean"),
    ],
)
def test_an_update_that_is_not_finite_is_not_left_out_in_silence(worker, initial, batch_size, what):
    config = TrainingConfig(batch_size=batch_size, client_learning_rate=3e38)
    engine = TffEngine(BUILD, initial=initial, config=config)
    with pytest.raises(FloatingPointError, match=f"{what} is not finite"):
        engine.run_round([client(300, 1)])


def test_a_worker_that_dies_ends_the_run_with_its_status(initial):
    with execution_context() as server:
        engine = TffEngine(BUILD, initial=initial, config=SGD)
        (worker,) = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children").read_text().split()
        os.kill(int(worker), signal.SIGKILL)
        server.process.wait()
        with pytest.raises(EngineError, match=f"status {128 + signal.SIGKILL}"):
            engine.run_round(COHORTS[0])


def test_the_worker_runs_only_inside_the_block(initial):
    with execution_context() as server:
        assert server.process.poll() is None
    assert server.process.poll() is not None
