"""The engine on a real cluster of two node processes on this machine."""

import os
import signal
import sys
import warnings
from functools import partial

import numpy as np
import pytest
import ray

from federated import assembly
from federated.aggregation.settings import AggregationSettings
from federated.algorithms.fed_avg import build_fed_avg
from federated.algorithms.mean import WeightedMean
from federated.config import Config, ModelConfig, TrainingConfig
from federated.data.clients import ClientDataset
from federated.engines.cohort import CLIENTS, Cohort, plan_shapes
from federated.engines.opening import open_engine
from federated.engines.ray import RayEngine, connect
from federated.engines.xla import XlaEngine
from federated.errors import EngineError
from federated.models.block import build_model
from federated.privacy.accountant import Mechanism
from federated.privacy.keys import KEY_BYTES, NoiseKey
from federated.privacy.ledger import begin_ledger
from federated.privacy.opening import Privacy
from federated.privacy.plan import PrivacyPlan
from federated.privacy.settings import PrivacySettings
from federated.server import Server

pytestmark = pytest.mark.train

VOCABULARY, CLASSES, T = 12, 3, 6
MODEL = ModelConfig(encoder="simple_rnn", embedding_size=4, hidden_size=3, key_size=2)
TRAINING = TrainingConfig(batch_size=4, client_learning_rate=0.5, server_learning_rate=0.01)
SIZES = [9, 3, 4, 8, 1, 7, 5, 2, 6, 4, 4, 3, 9, 1]
STORE_BYTES = 100 * 2**20


def build_parts():
    model = build_model(MODEL, vocabulary_size=VOCABULARY, classes=CLASSES)
    return build_fed_avg(model.apply, TRAINING), WeightedMean()


class KillOnce(WeightedMean):
    """Ends the process of the first actor that builds it with the round half done."""

    def __init__(self, mark: str) -> None:
        self._mark = mark

    def client(self, update, weight, broadcast, local):
        try:
            os.close(os.open(self._mark, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return super().client(update, weight, broadcast, local)
        return os.kill(os.getpid(), signal.SIGKILL)


def build_killing_parts(mark: str):
    return build_parts()[0], KillOnce(mark)


class KillAlways(WeightedMean):
    def client(self, update, weight, broadcast, local):
        os.kill(os.getpid(), signal.SIGKILL)


def build_dying_parts():
    return build_parts()[0], KillAlways()


def client(examples: int, seed: int) -> ClientDataset:
    random = np.random.default_rng(seed)
    return ClientDataset(
        random.integers(1, VOCABULARY, (examples, T), dtype=np.int32),
        random.integers(0, CLASSES, examples, dtype=np.int32),
    )


SHAPES = plan_shapes(SIZES, epochs=1, batch_size=4, max_tokens=T)
COHORT = Cohort(1, 1, list(range(len(SIZES))), [client(size, seed) for seed, size in enumerate(SIZES)])


@pytest.fixture(scope="module")
def cluster():
    from ray.cluster_utils import Cluster

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        options = {"num_cpus": 1, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        cluster = Cluster(initialize_head=True, head_node_args=options)
        try:
            cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
            yield cluster
        finally:
            cluster.shutdown()


def train(engine, parts=None, *, rounds: int = 1) -> list[np.ndarray]:
    algorithm, aggregation = parts or build_parts()
    model = build_model(MODEL, vocabulary_size=VOCABULARY, classes=CLASSES)
    server = Server(algorithm, aggregation, engine, initial=model.init(2))
    for number in range(1, rounds + 1):
        cohort = COHORT._replace(number=number)
        server.run_round(cohort, server.pack(cohort))
    return server.weights


@pytest.fixture(scope="module")
def expected():
    engine = XlaEngine(*build_parts(), shapes=SHAPES)
    yield train(engine)
    engine.close()


def test_two_nodes_give_the_bits_of_one_machine(cluster, expected):
    options = {"shapes": SHAPES, "rebuild": build_parts, "address": cluster.address}
    with open_engine("ray", *build_parts(), **options) as engine:
        assert len(engine.actors) == len(cluster.list_all_nodes()) == 2
        assert len(engine.pack(COHORT)) == -(-len(SIZES) // CLIENTS) == 3
        assert [leaf.tobytes() for leaf in train(engine)] == [leaf.tobytes() for leaf in expected]
    assert not ray.is_initialized()


@pytest.fixture
def connected(cluster):
    with connect(cluster.address):
        yield


def test_an_actor_that_is_killed_in_mid_round_is_replaced_and_its_shard_runs_again(connected, expected, tmp_path):
    mark = tmp_path / "killed"
    engine = RayEngine(partial(build_killing_parts, str(mark)), shapes=SHAPES)
    assert [leaf.tobytes() for leaf in train(engine)] == [leaf.tobytes() for leaf in expected]
    assert mark.exists(), "nobody was killed"


@pytest.mark.parametrize("sampling", ["poisson", "local"])
def test_private_rounds_have_the_bits_of_one_machine(connected, tmp_path, sampling):
    """The noise is drawn where the key is; the actors get what belongs to their clients, and no key."""
    config = Config(
        preset="test",
        model=MODEL,
        training=TRAINING,
        aggregation=AggregationSettings(clip=0.05),
        privacy=PrivacySettings(epsilon=3.0, sampling=sampling),
    )
    rebuild = partial(assembly.build_parts, config, vocabulary_size=VOCABULARY, classes=CLASSES, clients=len(SIZES))
    mechanism = Mechanism(sampling=sampling, clients=len(SIZES), cohort=len(SIZES))
    plan = PrivacyPlan(
        mechanism=mechanism,
        epsilon=3.0,
        delta=1e-5,
        rounds=2,
        noise_multiplier=1.0,
        cohort_cap=len(SIZES),
        curve=[0.0, 1.0, 2.0],
    )
    key = NoiseKey(bytes(KEY_BYTES), given=True)
    trained = {}
    for name in "ray", "xla":
        parts = rebuild(privacy=Privacy(begin_ledger(tmp_path / name, plan, key), key))
        engine = RayEngine(rebuild, shapes=SHAPES) if name == "ray" else XlaEngine(*parts, shapes=SHAPES, threads=1)
        trained[name] = [leaf.tobytes() for leaf in train(engine, parts, rounds=2)]
    engine.close()
    assert trained["ray"] == trained["xla"]


def build_spoiled_parts(spoil):
    algorithm, aggregation = build_parts()
    return spoil(algorithm), aggregation


def test_a_fault_would_be_seen(connected, expected, spoil):
    trained = train(RayEngine(partial(build_spoiled_parts, spoil), shapes=SHAPES))
    assert max(np.abs(one - other).max() for one, other in zip(trained, expected, strict=True)) > 1e-4


def test_actors_that_always_die_end_the_run(connected):
    engine = RayEngine(build_dying_parts, shapes=SHAPES)
    with pytest.raises(EngineError, match="could not run a micro-shard"):
        train(engine)


@pytest.mark.parametrize("address", ["127.0.0.1:1", "nonsense", "127.0.0.1:port"])
def test_a_cluster_that_is_not_there_is_named(address):
    with pytest.raises(EngineError, match=f"cannot join a Ray cluster at {address}"), connect(address):
        pass


def test_a_machine_without_ray_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "federated.engines.ray")
    options = {"shapes": SHAPES, "rebuild": build_parts, "address": "127.0.0.1:1"}
    with pytest.raises(EngineError, match="extra `ray`"), open_engine("ray", *build_parts(), **options):
        pass
