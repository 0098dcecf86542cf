import time
from typing import NamedTuple

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.aggregation.settings import AggregationSettings
from federated.config import Config, TrainingConfig
from federated.data.availability import AvailabilitySettings, answers, available
from federated.data.clients import ClientDataset
from federated.errors import DivergenceError
from federated.privacy.accountant import Mechanism
from federated.privacy.keys import KEY_BYTES, NoiseKey
from federated.privacy.ledger import begin_ledger
from federated.privacy.opening import Privacy
from federated.privacy.plan import PrivacyPlan
from federated.rounds import draw_cohort, draw_local_data, prefetch, run_rounds
from federated.run_state import RunState
from federated.traffic import Traffic
from worker.messages import RoundRecord

pytestmark = pytest.mark.fast


def client(start: int, examples: int) -> ClientDataset:
    """Examples whose only token and label are their number, so that each can be told apart."""
    numbers = np.arange(start, start + examples, dtype=np.int32)
    return ClientDataset(numbers[:, np.newaxis], numbers)


class LabelSum:
    """The smallest server: its model is the sum of the labels that it has read."""

    def __init__(self) -> None:
        self.total = 0
        self.cohorts = []

    def pack(self, cohort):
        return [data.label.tolist() for data in cohort.data]

    def run_round(self, cohort, packed):
        assert packed == self.pack(cohort), "another cohort was packed"
        self.cohorts.append(packed)
        self.total += sum(map(sum, packed))
        return {"loss": 1.0, "accuracy": 0.5}

    @property
    def weights(self):
        return [np.array([self.total], np.float32)]

    def measure_traffic(self, *, eight_bits):
        return Traffic(down=10, up=1 if eight_bits else 4)

    def snapshot(self):
        return {"total": self.total}

    def restore(self, snapshot):
        self.total = snapshot["total"]


CLIENTS = [client(100 * number, number + 1) for number in range(8)]


class Result(NamedTuple):
    server: LabelSum
    records: list[RoundRecord]
    heldout: dict[str, float]
    saved: list[bool]


def run(training: TrainingConfig, *, seed: int = 1, server=None, **options) -> Result:
    """Runs all rounds; of `evaluate` it is taken that it may say how well validation clients are served."""
    server, records, saved = server or LabelSum(), [], []
    defaults = {
        "run": "test",
        "evaluate": lambda weights: {"accuracy": float(weights[0][0])},
        "reports": [records.append],
        "save": lambda *, last: saved.append(last),
    }
    availability = options.pop("availability", AvailabilitySettings())
    aggregation = options.pop("aggregation", AggregationSettings())
    config = Config(preset="test", seed=seed, training=training, availability=availability, aggregation=aggregation)
    outcome = run_rounds(server, CLIENTS, config, RunState(training), **(defaults | options))
    return Result(server, records, outcome.metrics, saved)


def bytes_of(records: list[RoundRecord]) -> list[float]:
    return [record.train["bytes"] for record in records]


def test_nobody_is_missing_where_more_were_asked_for_than_there_are():
    _, records, *_ = run(TrainingConfig(rounds=1, clients_per_round=20))
    assert len(records[0].clients) == len(CLIENTS)
    assert "missing" not in records[0].train


def test_each_round_is_recorded_with_what_it_did():
    server, records, *_ = run(TrainingConfig(rounds=4, clients_per_round=3))
    assert [(record.run, record.round, record.rounds) for record in records] == [("test", n, 4) for n in (1, 2, 3, 4)]
    for record, cohort in zip(records, server.cohorts, strict=True):
        assert len(set(record.clients)) == 3
        assert [sorted(labels) for labels in cohort] == [CLIENTS[index].label.tolist() for index in record.clients]
        assert record.examples == sum(map(len, cohort))
        assert record.train == {"loss": 1.0, "accuracy": 0.5, "bytes": 3 * (10 + 4)}
        assert msgspec.json.decode(msgspec.json.encode(record), type=RoundRecord) == record


def test_evaluates_every_k_rounds_and_always_the_last_weights():
    server, records, heldout, _ = run(TrainingConfig(rounds=5, clients_per_round=2, evaluate_every=2))
    assert [record.round for record in records if record.heldout is not msgspec.UNSET] == [2, 4, 5]
    assert heldout == records[-1].heldout == {"accuracy": float(server.total)}


def test_the_model_is_the_mean_of_the_latest_rounds():
    single = [run(TrainingConfig(rounds=rounds, clients_per_round=2))[0].total for rounds in (1, 2, 3, 4)]
    _, records, heldout, _ = run(TrainingConfig(rounds=4, clients_per_round=2, averaged_rounds=3, evaluate_every=2))
    assert heldout["accuracy"] == pytest.approx(np.mean(single[1:]))
    assert records[1].heldout["accuracy"] == pytest.approx(np.mean(single[:2])), "as many as there are"


def test_the_same_seed_draws_the_same_and_another_seed_does_not():
    config = TrainingConfig(rounds=4, clients_per_round=3, local_epochs=2)
    assert run(config)[0].cohorts == run(config)[0].cohorts
    assert run(config)[0].cohorts != run(config, seed=2)[0].cohorts


def test_a_round_draws_the_same_however_many_rounds_follow():
    short, *_ = run(TrainingConfig(rounds=2, clients_per_round=3))
    long, *_ = run(TrainingConfig(rounds=5, clients_per_round=3))
    assert long.cohorts[:2] == short.cohorts


def test_every_client_gets_its_turn():
    _, records, *_ = run(TrainingConfig(rounds=40, clients_per_round=2))
    assert {index for record in records for index in record.clients} == set(range(len(CLIENTS)))


class Overflow(LabelSum):
    """In round 2 one of its numbers is not finite."""

    def __init__(self, *, loss: float = 1.0, weight: float = 0.0) -> None:
        super().__init__()
        self.loss, self.weight = loss, weight

    def run_round(self, cohort, packed):
        metrics = super().run_round(cohort, packed)
        return {**metrics, "loss": self.loss} if len(self.cohorts) == 2 else metrics

    @property
    def weights(self):
        return [np.ones(2, np.float32), np.array([0.0, self.weight if len(self.cohorts) == 2 else 0.0], np.float32)]


def refuse(weights):
    raise FloatingPointError("an answer is not finite")


@pytest.mark.parametrize(
    ("server", "evaluate", "what"),
    [
        (Overflow(loss=float("nan")), lambda weights: {}, "the loss is not finite"),
        (Overflow(loss=float("inf")), lambda weights: {}, "the loss is not finite"),
        (Overflow(weight=float("-inf")), lambda weights: {}, "a weight of the model is not finite"),
        (Overflow(), refuse, "an answer is not finite"),
    ],
)
def test_what_diverges_ends_the_run_in_that_round_with_the_remedy(server, evaluate, what):
    config = Config(preset="fast", training=TrainingConfig(rounds=9, client_learning_rate=1e6, evaluate_every=2))
    records = []
    with pytest.raises(DivergenceError) as caught:
        run_rounds(
            server,
            CLIENTS,
            config,
            RunState(config.training),
            run="test",
            evaluate=evaluate,
            reports=[records.append],
            save=lambda *, last: None,
        )
    assert str(caught.value) == (
        f"training diverged in round 2 of 9: {what}. No model was written. Lower training.client_learning_rate (1e+06) "
        "or training.server_learning_rate (0.003) of preset fast with --set, in another --log-dir: resumed as it is, "
        "this run would diverge again."
    )
    assert [record.round for record in records] == [1]


@pytest.fixture
def privacy(tmp_path):
    """Of a run of three rounds, with 3 expected of the 8 clients."""
    mechanism = Mechanism(sampling="poisson", clients=len(CLIENTS), cohort=3)
    promise = {"epsilon": 3.0, "delta": 1e-5, "rounds": 3, "noise_multiplier": 1.0, "cohort_cap": 8}
    plan = PrivacyPlan(mechanism=mechanism, **promise, curve=[0.0, 1.0, 2.0, 3.0])
    key = NoiseKey(bytes(KEY_BYTES), given=True)
    return Privacy(begin_ledger(tmp_path / "ledger.json", plan, key), key)


def test_no_count_in_the_record_of_a_private_round_tells_who_came(privacy):
    server, records, *_ = run(TrainingConfig(rounds=3), privacy=privacy)
    assert len({len(cohort) for cohort in server.cohorts}) > 1, "their sizes do not differ"
    assert bytes_of(records) == [3 * (10 + 4)] * 3
    assert [(record.clients, record.examples) for record in records] == [([], 0)] * 3


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_what_a_private_cohort_computes_ends_no_run(privacy, loss):
    """No noise covers its loss; only what is released may decide how the run goes on."""
    _, records, *_ = run(TrainingConfig(rounds=3), server=Overflow(loss=loss), privacy=privacy)
    assert ["loss" in record.train for record in records] == [True, False, True]
    assert all(msgspec.json.decode(msgspec.json.encode(record), type=RoundRecord) == record for record in records)


def test_a_released_weight_that_is_not_finite_ends_a_private_run_too(privacy):
    with pytest.raises(DivergenceError, match="a weight of the model is not finite"):
        run(TrainingConfig(rounds=3), server=Overflow(weight=float("inf")), privacy=privacy)


@given(clients=st.integers(1, 30), size=st.integers(1, 40), seed=st.integers(0, 2**32))
def test_a_cohort_holds_distinct_clients(clients, size, seed):
    cohort = draw_cohort(clients, size, np.random.default_rng(seed))
    assert len(cohort) == len(set(cohort)) == min(size, clients)
    assert set(cohort) <= set(range(clients))


@given(examples=st.integers(1, 20), epochs=st.integers(1, 4), seed=st.integers(0, 2**32))
def test_local_data_is_every_example_once_an_epoch_with_its_own_label(examples, epochs, seed):
    data = draw_local_data(client(7, examples), epochs, np.random.default_rng(seed))
    assert (data.token_ids[:, 0] == data.label).all()
    for epoch in np.split(data.label, epochs):
        assert sorted(epoch) == list(range(7, 7 + examples))


def test_the_next_cohort_is_packed_while_this_one_trains():
    packed, trained = [], []
    for number in prefetch(packed.append(number) or number for number in range(1, 4)):
        deadline = time.monotonic() + 10
        while len(packed) < min(number + 1, 3):
            assert time.monotonic() < deadline, "nobody packs the next cohort"
        trained.append(number)
    assert trained == packed == [1, 2, 3]


def test_what_fails_while_packing_reaches_the_caller():
    def fail():
        yield 1
        raise MemoryError

    with pytest.raises(MemoryError):
        list(prefetch(fail()))


def test_every_round_may_be_saved_and_the_last_has_to_be():
    assert run(TrainingConfig(rounds=4, clients_per_round=2)).saved == [False, False, False, True]


def test_only_clients_that_are_there_and_answer_take_part():
    settings = AvailabilitySettings(available=0.7, dropout=0.2)
    _, records, *_ = run(TrainingConfig(rounds=20, clients_per_round=8), availability=settings)
    for record in records:
        key = {"key": 1, "number": record.round, "clients": 8}
        expected = available(settings, **key) & answers(settings, **key)
        assert record.clients == np.flatnonzero(expected).tolist()
    assert len({tuple(record.clients) for record in records}) > 8


def test_clients_who_never_answer_have_read_the_model_but_sent_nothing():
    training = TrainingConfig(rounds=20, clients_per_round=8)
    _, records, *_ = run(training, availability=AvailabilitySettings(dropout=0.4))
    assert any("silent" in record.train for record in records)
    for record in records:
        answered, silent = len(record.clients), record.train.get("silent", 0)
        assert answered + silent == 8
        assert record.train["bytes"] == 10 * (answered + silent) + 4 * answered


def test_updates_of_eight_bits_are_counted_as_such():
    training = TrainingConfig(rounds=2, clients_per_round=3)
    assert bytes_of(run(training, aggregation=AggregationSettings(eight_bits=True)).records) == [33, 33]


def test_who_was_asked_for_but_not_there_is_counted():
    settings = AvailabilitySettings(available=0.5, dropout=0.2)
    _, records, *_ = run(TrainingConfig(rounds=20, clients_per_round=5), availability=settings)
    for record in records:
        there = np.count_nonzero(available(settings, key=1, number=record.round, clients=8))
        assert record.train.get("missing", 0) == max(5 - there, 0)
    assert {"missing" in record.train for record in records} == {True, False}


class Peak(LabelSum):
    """Serves new clients best after round 4."""

    def judge(self, weights):
        return {"accuracy": float(weights[0][0]), "validation_accuracy": -abs(len(self.cohorts) - 4.0)}


def test_training_stops_when_new_clients_are_no_better_served_and_keeps_the_best_model():
    server = Peak()
    training = TrainingConfig(rounds=50, clients_per_round=2, evaluate_every=1, patience=3)
    result = run(training, server=server, evaluate=server.judge)
    assert len(result.records) == 4 + 3
    assert result.heldout == result.records[3].heldout
    assert result.saved == [*[False] * 6, True]


def test_patience_counts_evaluations_not_rounds():
    server = Peak()
    training = TrainingConfig(rounds=50, clients_per_round=2, evaluate_every=4, patience=2)
    assert len(run(training, server=server, evaluate=server.judge).records) == 12
