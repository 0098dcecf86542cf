"""Figures client by client: what they are for known cases, and what they always are."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.evaluation.by_client import accuracy_by_client, spread

pytestmark = pytest.mark.fast

VALUES = st.lists(st.floats(0, 1), min_size=1, max_size=60).map(np.array)


def test_each_client_is_scored_by_itself_and_who_has_nothing_is_left_out():
    owner, truth, predicted = np.array([[0, 0, 2, 2, 2, 3], [1, 1, 1, 0, 0, 1], [1, 0, 1, 0, 0, 0]])
    assert accuracy_by_client(owner, truth, predicted).tolist() == [0.5, 1.0, 0.0]


def test_known_spreads():
    even = spread(np.full(20, 0.8))
    assert (even.clients, even.p5, even.p95, even.worst_decile) == (20, 0.8, 0.8, pytest.approx(0.8))
    assert even.jain == pytest.approx(1)
    assert spread(np.array([1.0, 0, 0, 0])).jain == pytest.approx(1 / 4)
    assert spread(np.zeros(3)).jain == 0
    ladder = spread(np.arange(20) / 20)
    assert ladder.worst_decile == pytest.approx(0.025)
    assert ladder.p50 == pytest.approx(0.475)


@given(values=VALUES)
def test_invariants(values):
    fairness = spread(values)
    slack = 1e-9
    assert values.min() - slack <= fairness.worst_decile <= values.mean() + slack
    assert fairness.p5 <= fairness.p50 <= fairness.p95
    assert -slack <= fairness.jain <= 1 + slack
    assert spread(values[::-1]) == pytest.approx(fairness)
