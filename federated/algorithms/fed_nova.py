"""FedNova (Wang et al., 2020, https://arxiv.org/abs/2007.07481): clients that take more steps do not pull harder.

With plain SGD: client i sends d_i = (w_i - w) / tau_i, its change for each of its tau_i steps, and tau_i itself; the
server goes tau_eff * sum_i p_i d_i, where tau_eff = sum_i p_i tau_i and p_i is the client's share of the examples.
"""

import numpy as np
import tensorflow as tf

from federated.algorithms.definition import WEIGHTS, Algorithm, Batches, ClientOutput, Leaves, State, Tensors
from federated.algorithms.local import Apply, as_leaf, keep_nothing, subtract, train_locally
from federated.algorithms.schedules import client_rate
from federated.algorithms.server_step import ServerStep
from federated.config import TrainingConfig


def build_fed_nova(apply: Apply, training: TrainingConfig) -> Algorithm:
    """Builds FedNova."""
    server = ServerStep(training)

    def broadcast(state: State, number: int) -> Leaves:
        return [*state[WEIGHTS], as_leaf(client_rate(training, number), state[WEIGHTS])]

    def client_update(broadcast: Tensors, client_state: Tensors, batches: Batches, key: tf.Tensor) -> ClientOutput:
        *start, rate = broadcast
        weights, metrics = train_locally(apply, start, batches, key, rate=rate)
        steps = tf.cast(batches.stop - batches.start, rate.dtype)
        change = [leaf / tf.maximum(steps, 1) for leaf in subtract(weights, start)]
        # As an array: the masked integers of a secure sum wrap around, which NumPy warns of in a scalar.
        return ClientOutput([*change, steps[tf.newaxis]], metrics["examples"], client_state, metrics)

    def server_update(state: State, update: Leaves, number: int, clients: int) -> State:
        *change, (steps,) = update
        return server.update(state, [steps * leaf for leaf in change], number, clients)

    def update_like(weights: Leaves) -> Leaves:
        return [*weights, as_leaf(0, weights)[np.newaxis]]

    return Algorithm("fednova", server.init, keep_nothing, broadcast, client_update, server_update, update_like)
