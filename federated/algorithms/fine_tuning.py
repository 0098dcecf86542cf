"""Fine-tuning: each client goes on from the shared model by itself, and nothing leaves it (Yu et al., 2020,
https://arxiv.org/abs/2002.04758, section 3).

::

    v_i <- v_i - rate g(v_i)     local steps, from v_i = w; v_i stays with the client
"""

import tensorflow as tf

from federated.algorithms.definition import WEIGHTS, Algorithm, Batches, ClientOutput, Leaves, State, Tensors
from federated.algorithms.local import Apply, as_leaf, keep_nothing, train_locally


def build_fine_tuning(apply: Apply, *, rate: float) -> Algorithm:
    """Builds the part of a round without a server: the clients' states are the leaves of their own models.

    Args:
        apply: the model.
        rate: of learning.
    """

    def init(weights: Leaves) -> State:
        return {WEIGHTS: weights}

    def broadcast(state: State, number: int) -> Leaves:  # noqa: ARG001
        return [*state[WEIGHTS], as_leaf(rate, state[WEIGHTS])]

    def client_update(broadcast: Tensors, client_state: Tensors, batches: Batches, key: tf.Tensor) -> ClientOutput:  # noqa: ARG001
        *start, rate = broadcast
        personal, metrics = train_locally(apply, start, batches, key, rate=rate)
        return ClientOutput([], metrics["examples"], personal, metrics)

    def server_update(state: State, update: Leaves, number: int, clients: int) -> State:  # noqa: ARG001
        return state

    return Algorithm("fine_tuning", init, keep_nothing, broadcast, client_update, server_update)
