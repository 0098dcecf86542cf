import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federated.aggregation.noise import draw_gaussian, draw_local, draw_tree_step
from federated.privacy.accountant import Mechanism
from federated.privacy.keys import KEY_BYTES, NoiseKey
from federated.privacy.sampling import draw_private_cohort

pytestmark = pytest.mark.fast

KEY = NoiseKey(bytes(KEY_BYTES), given=True)


def draw(sampling: str, clients: int, cohort: int, number: int, cap: int = 10**6) -> list[int]:
    mechanism = Mechanism(sampling=sampling, clients=clients, cohort=cohort)
    return draw_private_cohort(mechanism, KEY, number, cap=cap)


@given(st.integers(1, 60), st.data())
def test_each_client_is_once_in_each_tree(clients, data):
    cohort = data.draw(st.integers(1, clients))
    rounds = clients // cohort
    tree = data.draw(st.integers(0, 3))
    met = [client for place in range(rounds) for client in draw("tree", clients, cohort, tree * rounds + place + 1)]
    assert len(met) == len(set(met)) == rounds * cohort
    assert set(met) <= set(range(clients))


def test_two_trees_have_different_orders():
    assert [draw("tree", 100, 10, number) for number in range(1, 11)] != [
        draw("tree", 100, 10, number) for number in range(11, 21)
    ]


def test_a_fixed_cohort_has_its_size_and_no_client_twice():
    for number in range(1, 50):
        assert len(set(draw("fixed", 30, 7, number))) == 7


def test_a_poisson_cohort_varies_in_size_and_may_be_empty():
    sizes = [len(draw("poisson", 50, 2, number)) for number in range(1, 401)]
    assert 0 in sizes
    # Binomial(50, 0.04): the mean of 400 has a deviation of 0.07.
    assert np.mean(sizes) == pytest.approx(2.0, abs=0.35)
    assert np.var(sizes) == pytest.approx(1.92, abs=0.7)


def test_a_poisson_cohort_is_cut_at_its_cap():
    sizes = [len(draw("poisson", 50, 25, number, cap=20)) for number in range(1, 50)]
    assert max(sizes) == 20


def test_a_resumed_run_draws_the_same_cohorts():
    for sampling in ("poisson", "fixed", "tree", "local"):
        assert draw(sampling, 40, 8, 5) == draw(sampling, 40, 8, 5)


def test_noise_has_its_deviation_and_differs_by_round_leaf_and_client():
    first, second = draw_gaussian(KEY, 1, [(20_000,), (20_000,)], deviation=3.0)
    assert np.std(first) == pytest.approx(3.0, rel=0.03)
    for other in (second, draw_gaussian(KEY, 2, [(20_000,)], deviation=3.0)[0]):
        assert abs(np.corrcoef(first, other)[0, 1]) < 0.03
    mine, theirs = (draw_local(KEY, 1, client, [(20_000,)], deviation=3.0)[0] for client in (0, 1))
    assert abs(np.corrcoef(mine, theirs)[0, 1]) < 0.03


@settings(max_examples=25)
@given(st.integers(1, 40), st.integers(1, 16))
def test_tree_noise_of_a_running_sum_is_one_node_for_each_set_bit(rounds, tree_rounds):
    """The variance of the released running sum: popcount of the rounds in the open tree, and of each finished one."""
    draws = 4_000
    running = sum(
        draw_tree_step(KEY, n, [(draws,)], deviation=1.0, tree_rounds=tree_rounds)[0] for n in range(1, rounds + 1)
    )
    finished, place = divmod(rounds, tree_rounds)
    variance = finished * tree_rounds.bit_count() + place.bit_count()
    assert np.var(running) == pytest.approx(variance, rel=0.15)
