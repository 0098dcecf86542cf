"""FedSGD (McMahan et al., 2017, https://arxiv.org/abs/1602.05629): one gradient over all of a client's examples.

The server's optimizer takes the step; ``training.client_learning_rate`` plays no part.
"""

import tensorflow as tf

from federated.algorithms.definition import WEIGHTS, Algorithm, Batches, ClientOutput, Leaves, State, Tensors
from federated.algorithms.local import Apply, average_gradient, keep_nothing
from federated.algorithms.server_step import ServerStep
from federated.config import TrainingConfig


def build_fed_sgd(apply: Apply, training: TrainingConfig) -> Algorithm:
    """Builds FedSGD."""
    server = ServerStep(training)

    def broadcast(state: State, number: int) -> Leaves:  # noqa: ARG001
        return state[WEIGHTS]

    def client_update(broadcast: Tensors, client_state: Tensors, batches: Batches, key: tf.Tensor) -> ClientOutput:
        gradient, metrics = average_gradient(apply, broadcast, batches, key)
        return ClientOutput([-leaf for leaf in gradient], metrics["examples"], client_state, metrics)

    return Algorithm("fedsgd", server.init, keep_nothing, broadcast, client_update, server.update)
