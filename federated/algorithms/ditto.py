"""Ditto (Li et al., 2021, https://arxiv.org/abs/2012.04221): FedAvg, and beside it a model of its own for each client.

::

    v <- v - rate (g(v) + lambda (v - w))     as many local steps as for w; v stays with the client
"""

import tensorflow as tf

from federated.algorithms.definition import Algorithm, Batches, ClientOutput, Leaves, Tensors
from federated.algorithms.fed_avg import build_fed_avg
from federated.algorithms.local import Apply, add, differentiate, run_steps, subtract
from federated.config import TrainingConfig


def build_ditto(apply: Apply, training: TrainingConfig) -> Algorithm:
    """Builds Ditto; lambda is ``training.personal_pull``. A client's state is the leaves of its own model."""
    shared = build_fed_avg(apply, training)

    def init_client(weights: Leaves) -> Leaves:
        return weights

    def client_update(broadcast: Tensors, client_state: Tensors, batches: Batches, key: tf.Tensor) -> ClientOutput:
        *start, rate = broadcast

        def step(number: tf.Tensor, personal: Tensors) -> tuple[Tensors, dict[str, tf.Tensor]]:
            gradient = differentiate(apply, personal, batches, number, key)
            pulled = add(gradient.leaves, subtract(personal, start), scale=training.personal_pull)
            return add(personal, pulled, scale=-rate), gradient.metrics

        personal, met = run_steps(batches, client_state, step)
        output = shared.client_update(broadcast, [], batches, key)
        metrics = {**output.metrics, "personal_loss": met["loss"], "personal_correct": met["correct"]}
        return output._replace(client_state=personal, metrics=metrics)

    return shared._replace(name="ditto", init_client=init_client, client_update=client_update)
