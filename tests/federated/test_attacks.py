import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.aggregation import reference
from federated.aggregation.attacks import AttackedAggregation, choose_liars, flip_labels
from federated.aggregation.pipeline import Pipeline
from federated.aggregation.settings import AggregationSettings
from federated.aggregation.vectors import aggregate_vectors
from federated.data.clients import ClientDataset

pytestmark = pytest.mark.fast


def attack(settings: AggregationSettings, factor: float, liars: frozenset[int], updates: np.ndarray) -> np.ndarray:
    honest = Pipeline(settings, [updates.shape[1:]], steps=reference, seed=1, dtype=np.float64)
    aggregation = AttackedAggregation(honest, liars, factor, dtype=np.float64)
    (found,) = aggregate_vectors(aggregation, [[update] for update in updates], [1.0] * len(updates))
    return found


@given(st.integers(1, 200), st.floats(0, 0.99), st.integers(0, 100))
def test_the_liars_are_as_many_as_asked_for_and_always_the_same(clients, share, seed):
    liars = choose_liars(clients, share, seed=seed)
    assert len(liars) == round(share * clients)
    assert liars == choose_liars(clients, share, seed=seed) <= set(range(clients))


def test_flipped_labels_count_from_the_other_end_and_only_the_liars():
    data = ClientDataset(np.zeros((3, 2), np.int32), np.array([0, 1, 4], np.int32))
    honest, liar = flip_labels([data, data], frozenset([1]), classes=5)
    assert honest.label.tolist() == [0, 1, 4]
    assert liar.label.tolist() == [4, 3, 0]


@pytest.mark.parametrize("factor", [-1.0, 10.0])
def test_a_liars_update_is_multiplied(factor):
    updates = np.array([[1.0, 2.0], [3.0, 4.0]])
    found = attack(AggregationSettings(), factor, frozenset([1]), updates)
    np.testing.assert_allclose(found, (updates[0] + factor * updates[1]) / 2)


@pytest.mark.parametrize("combine", ["median", "trimmed_mean", "krum", "multi_krum", "geometric_median"])
@pytest.mark.parametrize("factor", [-10.0, 1_000.0])
def test_robust_means_stay_near_the_honest_one_where_the_plain_mean_is_carried_away(combine, factor):
    random = np.random.default_rng(0)
    truth = np.ones(50)
    updates = truth + 0.1 * random.normal(size=(20, 50))
    liars = frozenset(range(4))
    robust = attack(AggregationSettings(combine=combine), factor, liars, updates)
    plain = attack(AggregationSettings(), factor, liars, updates)
    # Two of five rivals shift within the honest spread; a single client's update has a deviation of 0.1 itself.
    assert np.abs(robust - truth).mean() < 0.15
    assert np.abs(plain - truth).mean() > 1.5
