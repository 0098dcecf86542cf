"""SCAFFOLD (Karimireddy et al., 2020, https://arxiv.org/abs/1910.06378): every step is corrected by how the client's
gradients differ from everybody's.

::

    y <- y - rate (g(y) - c_i + c)        K local steps, from y = w
    c_i' = c_i - c + (w - y) / (K rate)   option II of the paper
    w <- w + server step by mean(y - w)   c <- c + (clients of the round / all clients) mean(c_i' - c_i)

The clients of the round are those whose updates are in the means: not who never answered, or was refused. Both means
are over clients, not examples: each control stands for one client. A client that has no examples changes nothing, but
counts.
"""

import tensorflow as tf

from federated.algorithms.definition import WEIGHTS, Algorithm, Batches, ClientOutput, Leaves, State, Tensors
from federated.algorithms.local import Apply, add, as_leaf, differentiate, run_steps, subtract, twice
from federated.algorithms.schedules import client_rate
from federated.algorithms.server_step import ServerStep
from federated.config import TrainingConfig

CONTROL = "control"
"""The part of the server's state that is c."""


def build_scaffold(apply: Apply, training: TrainingConfig, *, clients: int) -> Algorithm:
    """Builds SCAFFOLD.

    Args:
        apply: the model.
        training: rates and the server's optimizer.
        clients: how many there are in all.
    """
    server = ServerStep(training)

    def init_control(weights: Leaves) -> Leaves:
        return [0 * weight for weight in weights]

    def init(weights: Leaves) -> State:
        return {**server.init(weights), CONTROL: init_control(weights)}

    def broadcast(state: State, number: int) -> Leaves:
        return [*state[WEIGHTS], *state[CONTROL], as_leaf(client_rate(training, number), state[WEIGHTS])]

    def client_update(broadcast: Tensors, client_state: Tensors, batches: Batches, key: tf.Tensor) -> ClientOutput:
        *both, rate = broadcast
        start, control = both[: len(both) // 2], both[len(both) // 2 :]
        correction = subtract(control, client_state)

        def step(number: tf.Tensor, weights: Tensors) -> tuple[Tensors, dict[str, tf.Tensor]]:
            gradient = differentiate(apply, weights, batches, number, key)
            return add(weights, add(gradient.leaves, correction, scale=1.0), scale=-rate), gradient.metrics

        weights, metrics = run_steps(batches, start, step)
        change = subtract(weights, start)
        steps = tf.cast(batches.stop - batches.start, rate.dtype)
        took_steps = tf.cast(steps > 0, rate.dtype)
        gone = add(control, change, scale=1 / (tf.maximum(steps, 1) * rate))
        control_change = [-took_steps * leaf for leaf in gone]
        state = add(client_state, control_change, scale=1.0)
        return ClientOutput([*change, *control_change], tf.ones_like(rate), state, metrics)

    def server_update(state: State, update: Leaves, number: int, counted: int) -> State:
        share = counted / clients
        half = len(update) // 2
        control = [old + share * new for old, new in zip(state[CONTROL], update[half:], strict=True)]
        return server.update({**state, CONTROL: control}, update[:half], number, counted)

    return Algorithm("scaffold", init, init_control, broadcast, client_update, server_update, twice)
