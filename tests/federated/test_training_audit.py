"""The audit on real training: canary clients among honest ones, scored by nothing but the model that is released.

600 canaries and 60 guesses. One program is compiled for each fault on the client; noise is wrong on the server.
"""

from types import SimpleNamespace

import numpy as np
import pytest
import tensorflow as tf

from federated.aggregation import compiled
from federated.aggregation.pipeline import Pipeline
from federated.aggregation.settings import AggregationSettings
from federated.algorithms.fed_avg import build_fed_avg
from federated.config import ModelConfig, TrainingConfig
from federated.data.clients import ClientDataset
from federated.engines.cohort import Cohort, plan_shapes
from federated.engines.xla import XlaEngine
from federated.models.block import build_model
from federated.privacy.accountant import Mechanism
from federated.privacy.audit import audit
from federated.privacy.keys import KEY_BYTES, NoiseKey
from federated.privacy.ledger import begin_ledger
from federated.privacy.opening import Privacy
from federated.privacy.plan import PrivacyPlan
from federated.server import Server

pytestmark = pytest.mark.train

CANARIES, GUESSES, HONEST = 600, 60, 20
EVERYBODY = CANARIES + HONEST
CLIP, DELTA = 0.5, 1e-5
NOISE = {1.0: 3.731, 2.0: 2.0}
"""Claimed epsilon -> noise multiplier of one round with everybody, as `test_privacy_audit` holds them."""
VOCABULARY, CLASSES, T = 1_000, 3, 4
MODEL = build_model(
    ModelConfig(encoder="simple_rnn", embedding_size=4, hidden_size=3, key_size=2),
    vocabulary_size=VOCABULARY,
    classes=CLASSES,
)
INITIAL = MODEL.init(2)
SHAPES = [leaf.shape for leaf in INITIAL]
SGD = build_fed_avg(
    MODEL.apply,
    TrainingConfig(batch_size=4, client_learning_rate=0.5, server_optimizer="sgd", server_learning_rate=1.0),
)


class Canaries:
    """An aggregation whose first clients send a direction of their own, ten times as long as the clip.

    Each says that it has 100 examples. The directions are random signs: nearly orthogonal to each other.
    """

    stacked = False

    def __init__(self, honest: Pipeline) -> None:
        self.honest, self.sampling = honest, honest.sampling
        self.broadcast, self.server = honest.broadcast, honest.server
        size = sum(int(np.prod(shape)) for shape in SHAPES)
        signs = np.random.default_rng(8).integers(0, 2, (CANARIES, size)) * 2 - 1
        self.directions = (signs / np.sqrt(size)).astype(np.float32)

    def local(self, number, clients, silent):
        return [self._choose(client) for client in clients]

    def _choose(self, client):
        direction = self.directions[client] if client < CANARIES else np.zeros_like(self.directions[0])
        ends = np.cumsum([int(np.prod(shape)) for shape in SHAPES])[:-1]
        leaves = [part.reshape(shape) for part, shape in zip(np.split(direction, ends), SHAPES, strict=True)]
        return [np.array(client < CANARIES), *leaves]

    def client(self, update, weight, broadcast, local):
        canary, *direction = local
        sent = [tf.where(canary, 10 * CLIP * mine, honest) for mine, honest in zip(direction, update, strict=True)]
        return self.honest.client(sent, tf.where(canary, 100.0, weight), broadcast, [])


class WeighingPipeline(Pipeline):
    """Forgets that under differential privacy each client counts once."""

    def client(self, update, weight, broadcast, local):
        (*leaves, counts), counted, metrics = super().client(update, weight, broadcast, local)
        return [*(leaf * weight for leaf in leaves), counts], counted, metrics


UNCLIPPED = SimpleNamespace(**{**vars(compiled), "clip": lambda update, bound: (update, tf.ones_like(bound))})


def draw_client(seed: int) -> ClientDataset:
    random = np.random.default_rng(seed)
    token_ids = random.integers(1, VOCABULARY, (4, T), dtype=np.int32)
    return ClientDataset(token_ids, random.integers(0, CLASSES, 4, dtype=np.int32))


DATA = [draw_client(seed) for seed in range(EVERYBODY)]


def build_aggregation(directory, *, claimed: float, noise: float, steps=compiled, pipeline=Pipeline) -> Canaries:
    plan = PrivacyPlan(
        mechanism=Mechanism(sampling="poisson", clients=EVERYBODY, cohort=EVERYBODY),
        epsilon=claimed,
        delta=DELTA,
        rounds=1,
        noise_multiplier=NOISE[claimed] * noise,
        cohort_cap=EVERYBODY,
        curve=[0.0, claimed],
    )
    key = NoiseKey(bytes(range(KEY_BYTES)), given=True)
    privacy = Privacy(begin_ledger(directory / f"{claimed}-{noise}.json", plan, key), key)
    return Canaries(pipeline(AggregationSettings(clip=CLIP), SHAPES, steps=steps, seed=1, privacy=privacy))


def attack(aggregation: Canaries, engine: XlaEngine, claimed: float):
    """Trains one round with the canaries that are present, and scores all of them by the released model."""

    def release(present):
        clients = [*np.flatnonzero(present).tolist(), *range(CANARIES, EVERYBODY)]
        server = Server(SGD, aggregation, engine, initial=INITIAL)
        cohort = Cohort(5, 1, clients, [DATA[client] for client in clients])
        server.run_round(cohort, server.pack(cohort))
        moved = [new - old for new, old in zip(server.weights, INITIAL, strict=True)]
        return aggregation.directions @ np.concatenate([leaf.ravel() for leaf in moved])

    random = np.random.default_rng(3)
    return audit(release, canaries=CANARIES, guesses=GUESSES, claimed_epsilon=claimed, delta=DELTA, random=random)


def run(directory, claimed: float, *, noises: list[float], **fault):
    """One audit for each of `noises`, all with the same compiled program."""
    shapes = plan_shapes([4] * EVERYBODY, epochs=1, batch_size=4, max_tokens=T)
    aggregations = [build_aggregation(directory, claimed=claimed, noise=noise, **fault) for noise in noises]
    engine = XlaEngine(SGD, aggregations[0], shapes=shapes)
    try:
        return [attack(aggregation, engine, claimed) for aggregation in aggregations]
    finally:
        engine.close()


@pytest.mark.parametrize("claimed", NOISE)
def test_correct_training_stays_below_its_claim_and_wrong_noise_is_caught(tmp_path, claimed):
    correct, quartered, silent = run(tmp_path, claimed, noises=[1.0, 0.25, 1e-9])
    assert not correct.refutes_claim, correct
    # A score that says nothing would pass as well: this one does say something.
    assert correct.correct > 0.5 * GUESSES
    assert quartered.refutes_claim, quartered
    assert silent.refutes_claim, silent


@pytest.mark.parametrize("claimed", NOISE)
@pytest.mark.parametrize("fault", [{"steps": UNCLIPPED}, {"pipeline": WeighingPipeline}], ids=["unclipped", "weighed"])
def test_a_fault_on_the_client_is_caught(tmp_path, claimed, fault):
    (found,) = run(tmp_path, claimed, noises=[1.0], **fault)
    assert found.refutes_claim, found
