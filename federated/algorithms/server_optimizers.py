"""How the server takes a step in the direction that its clients point to (Reddi et al., 2021,
https://arxiv.org/abs/2003.00295, with the bias correction of Adam itself).

An update points downhill already, so it is the *opposite* of a gradient. NumPy, in the type of the weights.
"""

import math
from collections.abc import Callable
from typing import Literal, NamedTuple

import numpy as np

from federated.algorithms.definition import Leaves

OptimizerName = Literal["sgd", "adam", "yogi", "adagrad"]

BETA_1, BETA_2 = 0.9, 0.999
ADAM_EPSILON, YOGI_EPSILON, ADAGRAD_EPSILON = 1e-7, 1e-3, 1e-7
YOGI_START, ADAGRAD_START = 1e-6, 0.1
"""First values of the second moments, those of TensorFlow Federated."""


class ServerOptimizer(NamedTuple):
    """An optimizer without a state of its own."""

    init: Callable[[Leaves], Leaves]
    """Weights -> the moments that it keeps."""
    step: Callable[[Leaves, Leaves, Leaves, float, int], tuple[Leaves, Leaves]]
    """Weights, moments, update, learning rate and how many steps there were, this one included -> weights, moments."""


def build_server_optimizer(
    name: OptimizerName, *, momentum: float = 0.0, epsilon: float | None = None
) -> ServerOptimizer:
    """Builds one.

    Args:
        name: which.
        momentum: of ``sgd`` only.
        epsilon: what keeps the adaptive ones from dividing by 0; None for the usual one.
    """
    if name == "sgd":
        return _build_sgd(momentum)
    if name == "adagrad":
        return _build_adagrad(ADAGRAD_EPSILON if epsilon is None else epsilon)
    yogi = name == "yogi"
    usual = YOGI_EPSILON if yogi else ADAM_EPSILON
    return _build_adaptive(yogi=yogi, epsilon=usual if epsilon is None else epsilon)


def _build_sgd(momentum: float) -> ServerOptimizer:
    def init(weights: Leaves) -> Leaves:
        return [np.zeros_like(weight) for weight in weights] if momentum else []

    def step(weights: Leaves, moments: Leaves, update: Leaves, rate: float, number: int) -> tuple[Leaves, Leaves]:  # noqa: ARG001
        if moments:
            update = moments = [momentum * moment + delta for moment, delta in zip(moments, update, strict=True)]
        return [weight + rate * delta for weight, delta in zip(weights, update, strict=True)], moments

    return ServerOptimizer(init, step)


def _build_adagrad(epsilon: float) -> ServerOptimizer:
    def init(weights: Leaves) -> Leaves:
        return [np.full_like(weight, ADAGRAD_START) for weight in weights]

    def step(weights: Leaves, moments: Leaves, update: Leaves, rate: float, number: int) -> tuple[Leaves, Leaves]:  # noqa: ARG001
        moments = [moment + delta**2 for moment, delta in zip(moments, update, strict=True)]
        parts = zip(weights, moments, update, strict=True)
        return [weight + rate * delta / np.sqrt(moment + epsilon) for weight, moment, delta in parts], moments

    return ServerOptimizer(init, step)


def _build_adaptive(*, yogi: bool, epsilon: float) -> ServerOptimizer:
    def init(weights: Leaves) -> Leaves:
        start = YOGI_START if yogi else 0
        return [np.zeros_like(weight) for weight in weights] + [np.full_like(weight, start) for weight in weights]

    def step(weights: Leaves, moments: Leaves, update: Leaves, rate: float, number: int) -> tuple[Leaves, Leaves]:
        first, second = moments[: len(weights)], moments[len(weights) :]
        first = [moment + (1 - BETA_1) * (delta - moment) for moment, delta in zip(first, update, strict=True)]
        squares = [delta**2 for delta in update]
        # Yogi moves its second moment by the square, not towards it: a rare large update is not forgotten at once.
        way = (np.sign(s - m) * s if yogi else s - m for m, s in zip(second, squares, strict=True))
        second = [moment + (1 - BETA_2) * step for moment, step in zip(second, way, strict=True)]
        rate *= math.sqrt(1 - BETA_2**number) / (1 - BETA_1**number)
        parts = zip(weights, first, second, strict=True)
        return [weight + rate * one / (np.sqrt(two) + epsilon) for weight, one, two in parts], first + second

    return ServerOptimizer(init, step)
