"""Beside the formulas of Reddi et al., 2021, one number at a time, in float64."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federated.algorithms.server_optimizers import build_server_optimizer

pytestmark = pytest.mark.fast

RATE, MOMENTUM, EPSILON = 0.1, 0.9, 1e-3
NUMBERS = st.floats(-5, 5)


def sgd(deltas):
    weight, velocity = 0.0, 0.0
    for delta in deltas:
        velocity = MOMENTUM * velocity + delta
        weight += RATE * velocity
    return weight


def adagrad(deltas):
    weight, total = 0.0, 0.1
    for delta in deltas:
        total += delta * delta
        weight += RATE * delta / math.sqrt(total + EPSILON)
    return weight


def adaptive(deltas, *, yogi):
    weight, first, second = 0.0, 0.0, 1e-6 if yogi else 0.0
    for number, delta in enumerate(deltas, start=1):
        square = delta * delta
        first = 0.9 * first + 0.1 * delta
        if yogi:
            second -= 0.001 * square * ((second > square) - (second < square))
        else:
            second = 0.999 * second + 0.001 * square
        rate = RATE * math.sqrt(1 - 0.999**number) / (1 - 0.9**number)
        weight += rate * first / (math.sqrt(second) + EPSILON)
    return weight


TWINS = {
    "sgd": sgd,
    "adagrad": adagrad,
    "adam": lambda deltas: adaptive(deltas, yogi=False),
    "yogi": lambda deltas: adaptive(deltas, yogi=True),
}


@pytest.mark.parametrize("name", TWINS)
@given(updates=st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=6))
def test_equals_the_formula(name, updates):
    options = {"momentum": MOMENTUM} if name == "sgd" else {"epsilon": EPSILON}
    optimizer = build_server_optimizer(name, **options)
    weights = [np.zeros(1), np.zeros((1, 1))]
    moments = optimizer.init(weights)
    for number, (one, other) in enumerate(updates, start=1):
        update = [np.array([one]), np.array([[other]])]
        weights, moments = optimizer.step(weights, moments, update, RATE, number)
    expected = [TWINS[name](deltas) for deltas in zip(*updates, strict=True)]
    assert [float(weight.squeeze()) for weight in weights] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("name", TWINS)
def test_float32_stays_float32(name):
    optimizer = build_server_optimizer(name, momentum=0.5 if name == "sgd" else 0.0)
    weights = [np.ones(3, np.float32)]
    weights, moments = optimizer.step(weights, optimizer.init(weights), weights, RATE, 1)
    assert {leaf.dtype for leaf in weights + moments} == {np.dtype(np.float32)}


def test_plain_sgd_keeps_nothing():
    assert build_server_optimizer("sgd").init([np.ones(3)]) == []
