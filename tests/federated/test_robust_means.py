import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from federated.aggregation.robust import combine_robustly, geometric_median, krum, trimmed_mean
from federated.aggregation.settings import AggregationSettings, count_liars
from federated.errors import AbortedRoundError

pytestmark = pytest.mark.fast

METHODS = ["median", "trimmed_mean", "krum", "multi_krum", "geometric_median"]
HONEST = arrays(np.float64, st.tuples(st.integers(6, 12), st.integers(1, 4)), elements=st.floats(-1, 1, width=32))
LIES = st.sampled_from([1e12, -1e12, 1e3, -7.0, 0.0, 5.0])


def combine(method: str, updates: np.ndarray, liars: float = 0.2) -> np.ndarray:
    return combine_robustly(updates, AggregationSettings(combine=method, liars=liars))


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), clients=st.integers(7, 15))
def test_the_order_of_the_clients_does_not_matter(method, seed, clients):
    random = np.random.default_rng(seed)
    updates = random.normal(size=(clients, 5))
    mixed = updates[random.permutation(clients)]
    np.testing.assert_allclose(combine(method, mixed), combine(method, updates), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15)
@given(row=arrays(np.float64, 3, elements=st.floats(-1e6, 1e6)), clients=st.integers(7, 10))
def test_clients_who_agree_get_what_they_agree_on(method, row, clients):
    np.testing.assert_allclose(combine(method, np.tile(row, (clients, 1))), row, rtol=1e-12)


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=15)
@given(shift=arrays(np.float64, 4, elements=st.floats(-100, 100)), seed=st.integers(0, 1000))
def test_a_shift_of_all_updates_shifts_the_result(method, shift, seed):
    updates = np.random.default_rng(seed).normal(size=(9, 4))
    np.testing.assert_allclose(combine(method, updates + shift), combine(method, updates) + shift, atol=1e-6)


@pytest.mark.parametrize("method", ["median", "trimmed_mean"])
@settings(max_examples=15)
@given(honest=HONEST, lie=LIES, data=st.data())
def test_order_statistics_stay_between_honest_values(method, honest, lie, data):
    """The breakdown point: as long as fewer than half lie (trimmed mean: no more than it trims)."""
    most = (len(honest) - 1) if method == "median" else len(honest) // 4
    liars = data.draw(st.integers(0, most))
    updates = np.concatenate([honest, np.full((liars, honest.shape[1]), lie)])
    found = combine(method, updates, liars=(liars + 0.5) / len(updates) if liars else 0.0)
    assert (found >= honest.min(axis=0) - 1e-9).all()
    assert (found <= honest.max(axis=0) + 1e-9).all()


@settings(max_examples=15)
@given(honest=HONEST, lie=LIES, data=st.data())
def test_the_geometric_median_stays_within_its_bound(honest, lie, data):
    """Lemma 2.1 of Minsker, 2015: no further than 2 (1 - a) / (1 - 2 a) times the honest radius, for a share a."""
    liars = data.draw(st.integers(0, len(honest) // 2))
    updates = np.concatenate([honest, np.full((liars, honest.shape[1]), lie)])
    centre = honest.mean(axis=0)
    radius = np.linalg.norm(honest - centre, axis=1).max()
    share = liars / len(updates)
    bound = 2 * (1 - share) / (1 - 2 * share) * radius
    assert np.linalg.norm(geometric_median(updates) - centre) <= bound + 1e-6


@pytest.mark.parametrize("chosen", [1, 4])
@settings(max_examples=15)
@given(honest=HONEST, lie=st.sampled_from([1e12, -1e12, 1e3, 50.0]), data=st.data())
def test_krum_chooses_honest_clients_when_liars_are_far_away(chosen, honest, lie, data):
    liars = data.draw(st.integers(0, (len(honest) - 3) // 2))
    updates = np.concatenate([np.full((liars, honest.shape[1]), lie), honest])
    found = krum(updates, liars, chosen=chosen)
    assert (found >= honest.min(axis=0) - 1e-9).all()
    assert (found <= honest.max(axis=0) + 1e-9).all()


@pytest.mark.parametrize(("share", "clients", "liars"), [(0.29, 100, 29), (0.2, 12, 2), (0.07, 100, 7), (0.0, 9, 0)])
def test_as_many_may_lie_as_the_share_says(share, clients, liars):
    """Not one less because 0.29 x 100 is 28.999999999999996 in binary."""
    assert count_liars(share, clients) == liars
    updates = np.zeros((clients, 1))
    updates[:liars] = 1e12
    assert combine("trimmed_mean", updates, share) == 0


def test_less_than_half_stays_less_than_half():
    assert count_liars(np.nextafter(0.5, 0), 10) == 4


def test_the_median_gives_way_when_half_lie():
    """What the others are held to does have an end: this is where it lies."""
    updates = np.array([[0.0], [1.0], [1e12], [1e12]])
    assert combine("median", updates) > 1e11


def test_a_plain_mean_gives_way_to_one_liar():
    updates = np.array([[0.0]] * 9 + [[1e12]])
    assert updates.mean() > 1e10
    assert trimmed_mean(updates, 1) == 0


def test_krum_needs_enough_clients():
    with pytest.raises(AbortedRoundError, match="Krum against 3 liars needs at least 9 clients in a round; 8 arrived"):
        krum(np.zeros((8, 2)), 3, chosen=1)


def test_krum_tells_neighbours_apart_beside_a_huge_update():
    """With |x|^2 + |y|^2 - 2xy every distance would drown in 1e30, and the first client would always win."""
    updates = np.array([[9.0], [1.0], [1.1], [0.9], [1.0], [1e15]])
    assert krum(updates, 1, chosen=1) in (1.0, 1.1, 0.9)
