"""FedAvg and what differs from it by a term or by the server's step.

::

    FedAvg   McMahan et al., 2017, https://arxiv.org/abs/1602.05629   local SGD, weighted by examples
    FedProx  Li et al., 2020, https://arxiv.org/abs/1812.06127        + mu / 2 ||w - w_server||^2 in the clients' loss
    FedOpt   Reddi et al., 2021, https://arxiv.org/abs/2003.00295     the mean update as the server's pseudo-gradient
"""

import tensorflow as tf

from federated.algorithms.definition import WEIGHTS, Algorithm, Batches, ClientOutput, Leaves, State, Tensors
from federated.algorithms.local import Apply, as_leaf, keep_nothing, subtract, train_locally
from federated.algorithms.schedules import client_rate
from federated.algorithms.server_step import ServerStep
from federated.config import TrainingConfig


def build_fed_avg(apply: Apply, training: TrainingConfig) -> Algorithm:
    """Builds FedAvg; with ``training.proximal`` above 0 FedProx, and FedOpt by ``training.server_optimizer``."""
    server = ServerStep(training)

    def broadcast(state: State, number: int) -> Leaves:
        return [*state[WEIGHTS], as_leaf(client_rate(training, number), state[WEIGHTS])]

    def client_update(broadcast: Tensors, client_state: Tensors, batches: Batches, key: tf.Tensor) -> ClientOutput:
        *start, rate = broadcast
        weights, metrics = train_locally(apply, start, batches, key, rate=rate, proximal=training.proximal)
        return ClientOutput(subtract(weights, start), metrics["examples"], client_state, metrics)

    return Algorithm("fedavg", server.init, keep_nothing, broadcast, client_update, server.update)
