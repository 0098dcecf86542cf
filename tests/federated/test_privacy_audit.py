"""The audit on vectors: a correct pipeline stays below its claim, and each planted fault is caught.

Power, as measured with 1,000 canaries and 100 guesses, at claimed epsilon 1 and 2 alike: of 40 audits of each fault all
40 refuted the claim, and of 100 audits of the correct run none did. The median of what the audits proved, at 95 %:

=================  ============  ============
run                claimed at 1  claimed at 2
=================  ============  ============
correct            0.21          0.65
noise / 4          1.81          3.47
any other fault    3.47          3.47
=================  ============  ============

With every guess right, 3.47 is the most that 100 guesses can prove.
"""

from types import SimpleNamespace

import numpy as np
import pytest

from federated.aggregation import reference
from federated.aggregation.pipeline import Pipeline
from federated.aggregation.settings import AggregationSettings
from federated.aggregation.vectors import aggregate_vectors
from federated.privacy.accountant import Mechanism, compute_curve
from federated.privacy.audit import audit, bound_epsilon
from federated.privacy.keys import KEY_BYTES, NoiseKey
from federated.privacy.ledger import begin_ledger
from federated.privacy.opening import Privacy
from federated.privacy.plan import PrivacyPlan

pytestmark = pytest.mark.fast

CANARIES = 1_000
GUESSES = 100
DELTA = 1e-5
CLIP = 0.5
NOISE = {1.0: 3.731, 2.0: 2.0}
"""Claimed epsilon -> noise multiplier of one round with everybody; a test holds them to the accountant."""
MECHANISM = Mechanism(sampling="poisson", clients=CANARIES, cohort=CANARIES)


class WeighingPipeline(Pipeline):
    """Forgets that under differential privacy each client counts once."""

    def client(self, update, weight, broadcast, local):
        (leaf, counts), counted, metrics = super().client(update, weight, broadcast, local)
        return [leaf * weight, counts], counted, metrics


UNCLIPPED = SimpleNamespace(**{**vars(reference), "clip": lambda update, bound: (update, np.ones_like(bound))})

FAULTS = {
    "noise off": {"noise": 1e-9},
    "noise / 4": {"noise": 0.25},
    "clip skipped": {"steps": UNCLIPPED},
    "weight ignored": {"pipeline": WeighingPipeline},
}


def run_audit(directory, claimed: float, seed: int, *, noise: float = 1.0, steps=reference, pipeline=Pipeline):
    """Each canary's update is a coordinate of its own, ten times as long as the clip, of a client with 100 examples."""
    random = np.random.default_rng(seed)
    plan = PrivacyPlan(
        mechanism=MECHANISM,
        epsilon=claimed,
        delta=DELTA,
        rounds=1,
        noise_multiplier=NOISE[claimed] * noise,
        cohort_cap=CANARIES,
        curve=[0.0, claimed],
    )
    key = NoiseKey(random.bytes(KEY_BYTES), given=True)
    privacy = Privacy(begin_ledger(directory / f"{seed}-{claimed}.json", plan, key), key)
    aggregation = pipeline(
        AggregationSettings(clip=CLIP), [(CANARIES,)], steps=steps, seed=1, privacy=privacy, dtype=np.float64
    )
    identity = 10 * CLIP * np.eye(CANARIES)

    def release(present):
        updates = [[identity[canary]] for canary in np.flatnonzero(present)]
        (mean,) = aggregate_vectors(aggregation, updates, [100.0] * len(updates))
        return mean

    return audit(release, canaries=CANARIES, guesses=GUESSES, claimed_epsilon=claimed, delta=DELTA, random=random)


@pytest.mark.parametrize("claimed", NOISE)
def test_the_noise_is_what_the_claim_asks_for(claimed):
    spent = compute_curve(MECHANISM, NOISE[claimed], rounds=1, delta=DELTA)[1]
    assert 0.99 * claimed < spent <= claimed


@pytest.mark.parametrize("claimed", NOISE)
@pytest.mark.parametrize("seed", range(2))
def test_a_correct_run_stays_below_its_claim(tmp_path, claimed, seed):
    found = run_audit(tmp_path, claimed, seed)
    assert not found.refutes_claim, found


@pytest.mark.parametrize("claimed", NOISE)
@pytest.mark.parametrize("fault", FAULTS)
def test_each_fault_is_caught(tmp_path, claimed, fault):
    found = run_audit(tmp_path, claimed, 0, **FAULTS[fault])
    assert found.refutes_claim, found


def test_all_guesses_right_refute_what_coin_tosses_do_not():
    assert bound_epsilon(canaries=1_000, guesses=100, correct=100, delta=0.0) == pytest.approx(3.49, abs=0.01)
    assert bound_epsilon(canaries=1_000, guesses=100, correct=50, delta=0.0) == 0
    # The chance to name every one of 100 is delta's to take: with a delta this large nothing is refuted.
    assert bound_epsilon(canaries=1_000, guesses=100, correct=100, delta=0.01) == 0


def test_the_bound_holds_for_randomised_response():
    """The mechanism for which the theorem is tight: bits that are kept with probability e^2 / (1 + e^2)."""
    random = np.random.default_rng(5)
    false_alarms = 0
    for _ in range(200):
        correct = random.binomial(200, np.exp(2) / (1 + np.exp(2)))
        false_alarms += bound_epsilon(canaries=200, guesses=200, correct=correct, delta=0.0) > 2.0
    # Expected 5 % at most; 200 draws have a deviation of 1.5 %.
    assert false_alarms / 200 < 0.1
