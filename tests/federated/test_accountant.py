import math

import pytest
from dp_accounting.pld.privacy_loss_distribution import from_gaussian_mechanism

from federated.errors import PrivacyError
from federated.privacy.accountant import Mechanism, compute_epsilon
from federated.privacy.plan import build_plan
from federated.privacy.settings import PrivacySettings

pytestmark = pytest.mark.fast


def mechanism(sampling: str, clients: int = 2_000, cohort: int = 100) -> Mechanism:
    return Mechanism(sampling=sampling, clients=clients, cohort=cohort)


@pytest.mark.parametrize(
    ("sampling", "clients", "cohort", "noise", "expected"),
    [
        # By dp_accounting itself, with its finest tables.
        ("poisson", 100, 1, 1.0, 0.718),
        ("poisson", 2_000, 100, 1.0, 3.502),
        ("fixed", 2_000, 100, 2.0, 6.467),
    ],
)
def test_epsilon_after_a_hundred_rounds(sampling, clients, cohort, noise, expected):
    found = compute_epsilon(mechanism(sampling, clients, cohort), noise, rounds=100, delta=1e-5)
    assert found == pytest.approx(expected, abs=1e-3)


def test_noise_counts_half_where_a_client_is_replaced():
    same = compute_epsilon(mechanism("fixed"), 1.0, rounds=100, delta=1e-5)
    assert same > 5 * compute_epsilon(mechanism("fixed"), 2.0, rounds=100, delta=1e-5)


def test_local_noise_costs_what_pld_says_without_sampling():
    """Ten rounds of noise 20 against a distance of 2 are one of noise 20 / 2 / sqrt(10)."""
    pld = from_gaussian_mechanism(20 / 2 / math.sqrt(10))
    found = compute_epsilon(mechanism("local"), 20.0, rounds=10, delta=1e-5)
    assert found == pytest.approx(pld.get_epsilon_for_delta(1e-5), abs=1e-3)


def test_a_client_that_is_in_every_tree_pays_for_each():
    """Two trees must cost more than one: the library's own event counts a list of trees as one."""
    one = compute_epsilon(mechanism("tree"), 4.0, rounds=20, delta=1e-5)
    two = compute_epsilon(mechanism("tree"), 4.0, rounds=40, delta=1e-5)
    assert two > 1.3 * one


@pytest.mark.parametrize("delta", [1e-3, 1 / 2_000 * 2, 0.5])
def test_a_delta_that_allows_to_publish_a_client_is_refused(delta):
    settings = PrivacySettings(epsilon=1.0, delta=delta)
    with pytest.raises(PrivacyError, match="not below 1 / 2000 clients"):
        build_plan(settings, clients=2_000, cohort=100, rounds=10)


def test_delta_must_be_strictly_below_one_over_the_clients():
    with pytest.raises(PrivacyError, match="not below 1 / 4 clients"):
        build_plan(PrivacySettings(epsilon=1.0, delta=0.25), clients=4, cohort=1, rounds=10)


def test_a_cohort_larger_than_the_population_is_refused():
    with pytest.raises(PrivacyError, match="cohort of 11 cannot be chosen from 10"):
        build_plan(PrivacySettings(epsilon=1.0, delta=1e-5), clients=10, cohort=11, rounds=10)
