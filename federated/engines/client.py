"""One client's whole part of a round: the algorithm's, then the aggregation's. Every engine runs this function."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import tensorflow as tf

from federated.algorithms.definition import Aggregation, Algorithm, Batches, Tensors


class ClientInput(NamedTuple):
    """What a client gets."""

    broadcast: Tensors
    """The algorithm's."""
    shared: Tensors
    """The aggregation's broadcast."""
    client_state: Tensors
    local: Tensors
    """What the aggregation gives to this client alone."""


class ClientResult(NamedTuple):
    """What is added to the other clients', and what stays with the client."""

    update: Tensors
    weight: tf.Tensor
    client_state: Tensors
    metrics: Mapping[str, tf.Tensor]


RunClient = Callable[[ClientInput, Batches, tf.Tensor], ClientResult]
"""Takes the key last."""


def build_client(algorithm: Algorithm, aggregation: Aggregation) -> RunClient:
    """Joins the two."""
    locally_private = aggregation.sampling == "local"

    def run(given: ClientInput, batches: Batches, key: tf.Tensor) -> ClientResult:
        output = algorithm.client_update(given.broadcast, given.client_state, batches, key)
        update, weight, metrics = aggregation.client(output.update, output.weight, given.shared, given.local)
        if "refused" not in metrics:
            return ClientResult(update, weight, output.client_state, {**output.metrics, **metrics})
        # What else a refused client made is mostly as little finite as its update.
        refused = metrics["refused"] > 0
        state = [tf.where(refused, old, new) for old, new in zip(given.client_state, output.client_state, strict=True)]
        kept = {name: tf.where(refused, tf.zeros_like(value), value) for name, value in output.metrics.items()}
        # Exact figures of one client, beside its noisy update, would tell what the noise hides.
        return ClientResult(update, weight, state, {} if locally_private else {**kept, **metrics})

    return run
