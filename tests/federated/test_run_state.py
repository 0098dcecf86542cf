"""A run that dies in any round, and goes on from its last checkpoint, ends as if it had not died."""

import numpy as np
import pytest

from federated import run_state
from federated.config import Config, TrainingConfig
from federated.data.clients import ClientDataset
from federated.errors import CheckpointError
from federated.rounds import run_rounds
from federated.run_state import Keeper, RunState
from federated.traffic import Traffic

pytestmark = pytest.mark.fast

ROUNDS = 9
TRAINING = TrainingConfig(rounds=ROUNDS, clients_per_round=3, averaged_rounds=3, evaluate_every=2, patience=9)
CONFIG = Config(preset="test", training=TRAINING)
CLIENTS = [ClientDataset(np.full((n + 1, 1), n, np.int32), np.arange(n + 1, dtype=np.int32)) for n in range(8)]


class Died(BaseException):
    """SIGKILL, as far as a test in this process can send one."""


class Server:
    """Its model depends on every round and on the states of the clients, in their order."""

    def __init__(self):
        self.state = {"weights": [np.zeros(2)]}
        self.client_states = {}

    @property
    def weights(self):
        return self.state["weights"]

    def pack(self, cohort):
        return cohort

    def run_round(self, cohort, packed):
        for client, data in zip(cohort.clients, cohort.data, strict=True):
            (seen,) = self.client_states.get(client, [np.zeros(1)])
            step = np.array([data.label.sum() + seen[0], data.label[0]])
            self.state = {"weights": [self.state["weights"][0] * 0.9 + step]}
            self.client_states.update([(client, [seen + 1])])
        return {"loss": 1.0}

    def measure_traffic(self, *, eight_bits):
        return Traffic(down=1, up=1)

    def snapshot(self):
        return {"algorithm": self.state}

    def restore(self, snapshot):
        self.state = snapshot["algorithm"]


def train(directory, *, die_after=None, digest="x", clock=None):
    """Trains to the end, or dies in the round after `die_after`, before its checkpoint."""
    server, state = Server(), RunState(TRAINING)
    options = {"clock": clock} if clock else {}
    keeper = Keeper(directory, server, state, config_digest=digest, **options)
    keeper.restore()
    began = state.number

    def report(record):
        if die_after is not None and record.round > die_after:
            raise Died

    def evaluate(weights):
        return {"accuracy": float(weights[0][0]), "validation_accuracy": float(weights[0][1])}

    outcome = run_rounds(server, CLIENTS, CONFIG, state, run="r", evaluate=evaluate, reports=[report], save=keeper.save)
    return began, outcome


@pytest.fixture(autouse=True)
def always_save(monkeypatch):
    monkeypatch.setattr(run_state, "CHECKPOINT_SECONDS", 0)


@pytest.fixture
def whole(tmp_path):
    """A run that nothing interrupts."""
    (tmp_path / "whole").mkdir()
    return train(tmp_path / "whole")[1]


def same(one, other):
    weights = [leaf.tobytes() for leaf in one.weights] == [leaf.tobytes() for leaf in other.weights]
    return weights and one.metrics == other.metrics and one.rounds == other.rounds


@pytest.mark.parametrize("number", range(ROUNDS))
def test_it_may_die_in_any_round(tmp_path, whole, number):
    with pytest.raises(Died):
        train(tmp_path, die_after=number)
    began, outcome = train(tmp_path)
    assert began == number
    assert same(outcome, whole)


def test_it_may_die_in_every_round(tmp_path, whole):
    for number in range(ROUNDS):
        with pytest.raises(Died):
            train(tmp_path, die_after=number)
    assert same(train(tmp_path)[1], whole)


def test_rounds_since_the_last_checkpoint_are_run_again(tmp_path, whole, monkeypatch):
    monkeypatch.setattr(run_state, "CHECKPOINT_SECONDS", 10)
    now = iter(range(0, 1_000, 4))
    with pytest.raises(Died):
        train(tmp_path, die_after=6, clock=lambda: next(now))
    began, outcome = train(tmp_path)
    assert began == 4, "the round in which ten seconds were over"
    assert same(outcome, whole)


def test_it_may_die_after_its_last_round(tmp_path, whole):
    train(tmp_path)
    began, outcome = train(tmp_path)
    assert began == ROUNDS
    assert same(outcome, whole)


def test_the_state_of_another_configuration_is_refused(tmp_path):
    with pytest.raises(Died):
        train(tmp_path, die_after=3)
    with pytest.raises(CheckpointError, match="another configuration"):
        train(tmp_path, digest="other")


def test_a_forgotten_part_of_the_state_would_be_noticed(tmp_path, whole, monkeypatch):
    with pytest.raises(Died):
        train(tmp_path, die_after=5)
    monkeypatch.setattr(Server, "restore", lambda self, snapshot: None)
    assert not same(train(tmp_path)[1], whole)


def test_a_full_disk_keeps_the_last_good_state(tmp_path, whole, monkeypatch):
    with pytest.raises(Died):
        train(tmp_path, die_after=5)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("federated.checkpoint.os.fsync", full)
        with pytest.raises(CheckpointError, match=r"No space left on device\. The last one is intact"):
            train(tmp_path)
    began, outcome = train(tmp_path)
    assert began == 5
    assert same(outcome, whole)
