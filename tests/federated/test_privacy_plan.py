import numpy as np
import pytest

from federated.errors import PrivacyError
from federated.privacy.accountant import Mechanism, compute_curve, compute_epsilon, solve_noise
from federated.privacy.plan import build_plan
from federated.privacy.settings import PrivacySettings

# No TensorFlow, but too slow for the fast tier: every figure takes the library a moment.
pytestmark = pytest.mark.train


def mechanism(sampling: str) -> Mechanism:
    return Mechanism(sampling=sampling, clients=2_000, cohort=100)


@pytest.mark.parametrize("sampling", ["poisson", "fixed", "tree", "local"])
def test_the_solved_noise_spends_the_budget_and_not_more(sampling):
    noise = solve_noise(mechanism(sampling), rounds=50, epsilon=4.0, delta=1e-5)
    spent = compute_epsilon(mechanism(sampling), noise, rounds=50, delta=1e-5)
    assert 0.99 * 4.0 < spent <= 4.0


@pytest.mark.parametrize("sampling", ["poisson", "fixed", "tree", "local"])
def test_the_curve_begins_at_nothing_never_falls_and_is_never_too_low(sampling):
    curve = compute_curve(mechanism(sampling), 3.0, rounds=300, delta=1e-5)
    assert curve.shape == (301,)
    assert curve[0] == 0
    assert (np.diff(curve) >= 0).all()
    for rounds in (1, 2, 77, 299, 300):
        exact = compute_epsilon(mechanism(sampling), 3.0, rounds=rounds, delta=1e-5)
        assert curve[rounds] >= exact - 1e-12
    assert curve[300] == pytest.approx(exact)


def test_a_budget_that_no_noise_keeps_is_refused():
    with pytest.raises(PrivacyError, match="cannot be kept over 10 rounds"):
        solve_noise(mechanism("fixed"), rounds=10, epsilon=1e-6, delta=1e-12)


def test_a_budget_that_needs_no_noise_is_refused():
    with pytest.raises(PrivacyError, match="promises next to nothing"):
        solve_noise(mechanism("poisson"), rounds=1, epsilon=90.0, delta=1e-5)


def test_the_plan_keeps_its_promise_in_every_round():
    plan = build_plan(PrivacySettings(epsilon=8.0, delta=1e-5), clients=2_000, cohort=100, rounds=40)
    assert len(plan.curve) == 41
    assert 7.9 < max(plan.curve) <= 8.0
    assert plan.curve[-2] < plan.curve[-1]
    assert plan.relation == "add or remove one client"
    assert plan.accountant == "PLD"
    # Far above 100 clients, in deviations of the cohort's size, and far below everybody.
    assert 170 < plan.cohort_cap < 250
