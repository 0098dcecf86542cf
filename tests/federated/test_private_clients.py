"""What clients send in a private run, on the compiled engine and in TensorFlow Federated, whatever their data are."""

import contextlib
import math

import numpy as np
import pytest

from federated.aggregation import compiled
from federated.aggregation.attacks import AttackedAggregation
from federated.aggregation.noise import draw_gaussian
from federated.aggregation.pipeline import Pipeline
from federated.aggregation.settings import AggregationSettings
from federated.algorithms.choice import build_algorithm
from federated.config import ModelConfig, TrainingConfig
from federated.data.clients import ClientDataset
from federated.engines.cohort import Cohort, plan_shapes
from federated.engines.tff import TffEngine, execution_context
from federated.engines.xla import XlaEngine
from federated.models.block import build_model
from federated.privacy.accountant import Mechanism
from federated.privacy.keys import KEY_BYTES, NoiseKey
from federated.privacy.ledger import begin_ledger
from federated.privacy.opening import Privacy
from federated.privacy.plan import PrivacyPlan
from federated.server import Server

pytestmark = pytest.mark.train

KEY = NoiseKey(bytes(KEY_BYTES), given=True)
VOCABULARY, CLASSES, T, CLIP = 12, 3, 6, 0.5
MODEL = build_model(
    ModelConfig(encoder="simple_rnn", embedding_size=4, hidden_size=3, key_size=2),
    vocabulary_size=VOCABULARY,
    classes=CLASSES,
)
INITIAL = MODEL.init(2)
UPDATE_SHAPES = [leaf.shape for leaf in INITIAL]
# Ditto keeps a model with each client and has metrics of its own: nothing may leave by either.
TRAINING = TrainingConfig(algorithm="ditto", batch_size=4, server_optimizer="sgd", server_learning_rate=1.0)
ALGORITHM = build_algorithm(MODEL.apply, TRAINING, clients=4)


def draw_client(examples: int) -> ClientDataset:
    random = np.random.default_rng(examples)
    token_ids = random.integers(1, VOCABULARY, (examples, T), dtype=np.int32)
    return ClientDataset(token_ids, random.integers(0, CLASSES, examples, dtype=np.int32))


SIZES = [1, 9, 4, 6]
DATA = [draw_client(size) for size in SIZES]
COHORT_SHAPES = plan_shapes(SIZES, epochs=1, batch_size=4, max_tokens=T)


@pytest.fixture
def build_pipeline(tmp_path):
    def build(sampling: str) -> Pipeline:
        plan = PrivacyPlan(
            mechanism=Mechanism(sampling=sampling, clients=4, cohort=2),
            epsilon=1.0,
            delta=1e-5,
            rounds=1,
            noise_multiplier=1.0,
            cohort_cap=4,
            curve=[0.0, 1.0],
        )
        privacy = Privacy(begin_ledger(tmp_path / "ledger.json", plan, KEY), KEY)
        return Pipeline(AggregationSettings(clip=CLIP), UPDATE_SHAPES, steps=compiled, seed=1, privacy=privacy)

    return build


@contextlib.contextmanager
def open_engine(name, aggregation):
    if name == "tff":
        with execution_context():
            yield TffEngine(ALGORITHM, aggregation, shapes=COHORT_SHAPES)
        return
    with contextlib.closing(XlaEngine(ALGORITHM, aggregation, shapes=COHORT_SHAPES)) as engine:
        yield engine


@pytest.mark.parametrize("name", ["xla", "tff"])
def test_of_a_locally_private_client_nothing_but_noisy_leaves_depends_on_its_data(build_pipeline, name):
    """Few examples and many, short updates and long ones, one that is not finite: the rest of it is always the same."""
    honest = build_pipeline("local")
    rest, noisy = [], []
    with open_engine(name, AttackedAggregation(honest, frozenset(), 1.0)) as engine:
        for client, factor in [(0, 1e-6), (1, 0.01), (1, 1e6), (2, math.nan)]:
            aggregation = AttackedAggregation(honest, frozenset([client]), factor)
            result = engine.run(
                engine.pack(Cohort(5, 1, [client], [DATA[client]])),
                broadcasts=(ALGORITHM.broadcast(ALGORITHM.init(INITIAL), 1), aggregation.broadcast(1)),
                client_states=[INITIAL],
                local=aggregation.local(1, [client]),
            )
            *leaves, counts = result.total
            noisy.append(np.concatenate([leaf.ravel() for leaf in leaves]))
            rest.append((counts.tolist(), result.weights.tolist(), result.metrics))
    assert rest == [([1.0, 1.0], [1.0], {})] * 4
    assert np.isfinite(noisy).all()
    assert np.abs(noisy[1] - noisy[2]).max() > 0.01, "the data of these clients are not felt at all"


@pytest.mark.parametrize("clients", [[1], [0, 1, 2, 3]], ids=["one client", "four clients"])
def test_a_private_round_of_refused_updates_releases_noise_like_any_other(build_pipeline, clients):
    """That it ended the run would tell what the data of its cohort did."""
    aggregation = AttackedAggregation(build_pipeline("poisson"), frozenset(range(4)), math.nan)
    with open_engine("xla", aggregation) as engine:
        server = Server(ALGORITHM, aggregation, engine, initial=INITIAL)
        cohort = Cohort(5, 1, clients, [DATA[client] for client in clients])
        figures = server.run_round(cohort, server.pack(cohort))
    assert figures == {"refused": len(clients)}
    noise = draw_gaussian(KEY, 1, UPDATE_SHAPES, deviation=CLIP)
    for weight, first, part in zip(server.weights, INITIAL, noise, strict=True):
        np.testing.assert_allclose(weight, first + part / 2, atol=1e-6)
