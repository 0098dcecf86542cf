"""A micro-shard as one program that XLA compiles: a loop over its clients, and in it the loop over each one's steps.

Both loops end where the clients and their steps end, so padded slots and steps cost nothing and change nothing.
"""

from collections.abc import Callable
from typing import NamedTuple

import tensorflow as tf

from federated.algorithms.definition import Aggregation, Algorithm, Batches, Tensors
from federated.engines.client import ClientInput, ClientResult, build_client
from federated.engines.cohort import CLIENTS, MicroShard


class ShardResult(NamedTuple):
    """What a micro-shard gives back, tensors inside the program and arrays outside. Axis 0 of all but `total` and
    `metrics` is the slot, `CLIENTS` long.
    """

    total: Tensors
    """Sum of the updates in slot order; empty where the updates are stacked."""
    stack: Tensors
    """Every update flat, one array `[CLIENTS, D]`; empty where they are summed."""
    weights: tf.Tensor
    client_states: Tensors
    metrics: dict[str, tf.Tensor]
    """Sums over the clients."""


class ShardProgram(NamedTuple):
    """It is compiled when it first meets a shape, and may be run from several threads."""

    run: Callable[[ClientInput, MicroShard], ShardResult]
    """The states and what the aggregation gives to single clients have the slot as axis 0."""
    count_shapes: Callable[[], int]
    """For how many it has been compiled."""


def build_shard_program(algorithm: Algorithm, aggregation: Aggregation) -> ShardProgram:
    """Builds the program."""
    run_client = tf.function(build_client(algorithm, aggregation))

    @tf.function(jit_compile=True)
    def program(given: ClientInput, shard: MicroShard) -> ShardResult:
        def run(slot: tf.Tensor) -> ClientResult:
            start, stop = shard.bounds[slot], shard.bounds[slot + 1]
            batches = Batches({"token_ids": shard.token_ids}, shard.label, shard.kept, start, stop)
            # Not `leaf[slot]`: for an index that is known only when it runs, XLA pads all slots to twice their sizes.
            own = given._replace(
                client_state=[tf.gather(leaf, slot) for leaf in given.client_state],
                local=[tf.gather(leaf, slot) for leaf in given.local],
            )
            return run_client(own, batches, shard.keys[slot])

        def body(slot: tf.Tensor, sums: ShardResult) -> tuple[tf.Tensor, ShardResult]:
            return slot + 1, _add(sums, slot, run(slot))

        start = _start(run(tf.constant(0)), stacked=aggregation.stacked)
        return tf.while_loop(lambda slot, _: slot < shard.clients, body, (0, start))[1]

    def run_shard(given: ClientInput, shard: MicroShard) -> ShardResult:
        return tf.nest.map_structure(lambda tensor: tensor.numpy(), program(given, shard))

    return ShardProgram(run_shard, program.experimental_get_tracing_count)


def _start(like: ClientResult, *, stacked: bool) -> ShardResult:
    """Zeros of the shapes of `like`, a result whose values nobody reads: XLA leaves out how they come about."""

    def zeros(tensor: tf.Tensor) -> tf.Tensor:
        return tf.zeros(tensor.shape, tensor.dtype)

    def slots(tensor: tf.Tensor) -> tf.Tensor:
        return tf.zeros([CLIENTS, *tensor.shape], tensor.dtype)

    return ShardResult(
        total=[] if stacked else [zeros(leaf) for leaf in like.update],
        stack=[slots(_flatten(like.update))] if stacked else [],
        weights=slots(like.weight),
        client_states=[slots(leaf) for leaf in like.client_state],
        metrics={name: zeros(value) for name, value in like.metrics.items()},
    )


def _add(sums: ShardResult, slot: tf.Tensor, result: ClientResult) -> ShardResult:
    def put(array: tf.Tensor, value: tf.Tensor) -> tf.Tensor:
        return tf.tensor_scatter_nd_update(array, [[slot]], value[tf.newaxis])

    return ShardResult(
        # One of the two is empty.
        total=[total + leaf for total, leaf in zip(sums.total, result.update, strict=False)],
        stack=[put(stack, _flatten(result.update)) for stack in sums.stack],
        weights=put(sums.weights, result.weight),
        client_states=[put(array, leaf) for array, leaf in zip(sums.client_states, result.client_state, strict=True)],
        metrics={name: value + result.metrics[name] for name, value in sums.metrics.items()},
    )


def _flatten(update: Tensors) -> tf.Tensor:
    return tf.concat([tf.reshape(leaf, [-1]) for leaf in update], 0)
