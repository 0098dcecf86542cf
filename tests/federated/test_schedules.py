import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.algorithms.schedules import FINAL_SHARE, client_rate, scale, server_rate
from federated.config import TrainingConfig

pytestmark = pytest.mark.fast

NAMES = ["constant", "linear", "cosine", "exponential"]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("constant", [1, 1, 1, 1]),
        ("linear", [1, 0.75, 0.5, 0.25]),
        ("cosine", [1, 0.8535534, 0.5, 0.1464466]),
        ("exponential", [1, FINAL_SHARE ** (1 / 3), FINAL_SHARE ** (2 / 3), FINAL_SHARE]),
    ],
)
def test_the_factors_of_four_rounds(name, expected):
    assert [scale(name, number, rounds=4) for number in range(1, 5)] == pytest.approx(expected)


@given(name=st.sampled_from(NAMES), rounds=st.integers(1, 50), warmup=st.integers(0, 60))
def test_a_rate_rises_while_it_warms_up_then_never_does_and_never_reaches_0(name, rounds, warmup):
    factors = [scale(name, number, rounds=rounds, warmup=warmup) for number in range(1, rounds + 1)]
    assert all(0 < factor <= 1 for factor in factors)
    rising, falling = factors[:warmup], factors[warmup:]
    assert rising == sorted(rising)
    assert falling == sorted(falling, reverse=True)
    assert falling[:1] in ([], [1])


def test_each_side_follows_its_own():
    training = TrainingConfig(
        rounds=4, client_learning_rate=2.0, client_schedule="linear", server_learning_rate=3.0, server_schedule="cosine"
    )
    assert client_rate(training, 3) == pytest.approx(1.0)
    assert server_rate(training, 3) == pytest.approx(1.5)
