"""FedAvg and what differs from it by a term or by the server's step.

::

    FedAvg   McMahan et al., 2017, https://arxiv.org/abs/1602.05629   local SGD, weighted by examples
    FedProx  Li et al., 2020, https://arxiv.org/abs/1812.06127        + mu / 2 ||w - w_server||^2 in the clients' loss
    FedOpt   Reddi et al., 2021, https://arxiv.org/abs/2003.00295     the mean update as the server's pseudo-gradient
"""

import numpy as np
import tensorflow as tf

from federated.algorithms.definition import WEIGHTS, Algorithm, Batches, ClientOutput, Leaves, State, Tensors
from federated.algorithms.local import Apply, descend, differentiate, keep_nothing, run_steps, subtract
from federated.algorithms.schedules import client_rate, server_rate
from federated.algorithms.server_optimizers import build_server_optimizer
from federated.config import TrainingConfig

MOMENTS = "moments"


def build_fed_avg(apply: Apply, training: TrainingConfig) -> Algorithm:
    """Builds FedAvg; with ``training.proximal`` above 0 FedProx, and FedOpt by ``training.server_optimizer``."""
    optimizer = build_server_optimizer(
        training.server_optimizer, momentum=training.server_momentum, epsilon=training.server_epsilon
    )

    def init(weights: Leaves) -> State:
        return {WEIGHTS: weights, MOMENTS: optimizer.init(weights)}

    def broadcast(state: State, number: int) -> Leaves:
        return [*state[WEIGHTS], np.asarray(client_rate(training, number), state[WEIGHTS][0].dtype)]

    def client_update(broadcast: Tensors, client_state: Tensors, batches: Batches, key: tf.Tensor) -> ClientOutput:
        *server, rate = broadcast

        def step(number: tf.Tensor, weights: Tensors) -> tuple[Tensors, dict[str, tf.Tensor]]:
            gradient = differentiate(apply, weights, batches, number, key)
            leaves = gradient.leaves
            if training.proximal:
                away = subtract(weights, server)
                leaves = [leaf + training.proximal * part for leaf, part in zip(leaves, away, strict=True)]
            return descend(weights, leaves, rate), gradient.metrics

        weights, metrics = run_steps(batches, server, step)
        return ClientOutput(subtract(weights, server), metrics["examples"], client_state, metrics)

    def server_update(state: State, update: Leaves, number: int) -> State:
        rate = server_rate(training, number)
        weights, moments = optimizer.step(state[WEIGHTS], state[MOMENTS], update, rate, number)
        return {WEIGHTS: weights, MOMENTS: moments}

    return Algorithm("fedavg", init, keep_nothing, broadcast, client_update, server_update)
