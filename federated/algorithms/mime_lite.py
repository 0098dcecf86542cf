"""MimeLite (Karimireddy et al., 2021, https://arxiv.org/abs/2008.03606) with momentum: clients take the steps that a
central optimizer would take, with its state held still for the round.

::

    y <- y - rate (beta m + g(y))     local steps, from y = w
    w <- w + server step by mean(y - w)
    m <- beta m + mean(g_i(w))        g_i(w): the gradient over all of a client's examples at the round's first weights
"""

import numpy as np
import tensorflow as tf

from federated.algorithms.definition import WEIGHTS, Algorithm, Batches, ClientOutput, Leaves, State, Tensors
from federated.algorithms.local import (
    Apply,
    add,
    as_leaf,
    average_gradient,
    differentiate,
    keep_nothing,
    run_steps,
    subtract,
    twice,
)
from federated.algorithms.schedules import client_rate
from federated.algorithms.server_step import ServerStep
from federated.config import TrainingConfig

MOMENTUM = "momentum"
"""The part of the server's state that is m."""


def build_mime_lite(apply: Apply, training: TrainingConfig) -> Algorithm:
    """Builds MimeLite; beta is ``training.client_momentum``."""
    server = ServerStep(training)
    beta = training.client_momentum

    def init(weights: Leaves) -> State:
        return {**server.init(weights), MOMENTUM: [np.zeros_like(weight) for weight in weights]}

    def broadcast(state: State, number: int) -> Leaves:
        return [*state[WEIGHTS], *state[MOMENTUM], as_leaf(client_rate(training, number), state[WEIGHTS])]

    def client_update(broadcast: Tensors, client_state: Tensors, batches: Batches, key: tf.Tensor) -> ClientOutput:
        *both, rate = broadcast
        start, momentum = both[: len(both) // 2], both[len(both) // 2 :]

        def step(number: tf.Tensor, weights: Tensors) -> tuple[Tensors, dict[str, tf.Tensor]]:
            gradient = differentiate(apply, weights, batches, number, key)
            return add(weights, add(gradient.leaves, momentum, scale=beta), scale=-rate), gradient.metrics

        weights, metrics = run_steps(batches, start, step)
        gradient, _ = average_gradient(apply, start, batches, key)
        update = [*subtract(weights, start), *gradient]
        return ClientOutput(update, metrics["examples"], client_state, metrics)

    def server_update(state: State, update: Leaves, number: int, clients: int) -> State:
        half = len(update) // 2
        momentum = [beta * old + new for old, new in zip(state[MOMENTUM], update[half:], strict=True)]
        return server.update({**state, MOMENTUM: momentum}, update[:half], number, clients)

    return Algorithm("mimelite", init, keep_nothing, broadcast, client_update, server_update, twice)
