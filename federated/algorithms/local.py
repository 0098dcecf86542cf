"""What clients do with their batches: the steps that the algorithms are made of. Pure TensorFlow.

Every metric is a sum, so that clients can be added up: ``loss`` and ``correct`` over the examples as they were met, in
training, and ``examples``.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from federated.algorithms.definition import Batches, Leaves, Tensors

Carry = TypeVar("Carry")


class Apply(Protocol):
    """A model's answer, without any state."""

    def __call__(
        self, weights: Tensors, features: Mapping[str, tf.Tensor], key: tf.Tensor, *, training: bool
    ) -> tuple[tf.Tensor, Any]:
        """
        Args:
            weights: leaves.
            features: of a batch; their shapes are known when this is traced.
            key: int32 `[K]`; what is random depends on it alone.
            training: whether to drop out what the model drops out.

        Returns:
            Logits `[B, C]`, and what else the model has to say.
        """


class Gradient(NamedTuple):
    """What one batch says about the weights."""

    leaves: Tensors
    """Of the mean loss over the examples of the batch."""
    examples: tf.Tensor
    """Scalar, floating."""
    metrics: dict[str, tf.Tensor]


def differentiate(apply: Apply, weights: Tensors, batches: Batches, step: tf.Tensor, key: tf.Tensor) -> Gradient:
    """The gradient of the mean cross-entropy over one batch.

    Args:
        apply: the model.
        weights: leaves.
        batches: of the client.
        step: which of them.
        key: int32 `[3]`; the number of the client's step is added to it.
    """
    features = {name: values[step] for name, values in batches.features.items()}
    label, kept = batches.label[step], batches.kept[step]
    share = tf.cast(kept, weights[0].dtype)
    examples = tf.reduce_sum(share)
    with tf.GradientTape() as tape:
        tape.watch(weights)
        logits, _ = apply(weights, features, tf.concat([key, [step - batches.start]], 0), training=True)
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=label, logits=logits)
        loss = tf.reduce_sum(losses * share)
        mean = loss / tf.maximum(examples, 1)
    # An embedding's gradient is a list of rows otherwise.
    leaves = [tf.convert_to_tensor(leaf) for leaf in tape.gradient(mean, weights)]
    right = tf.logical_and(kept, tf.equal(tf.argmax(logits, axis=-1, output_type=label.dtype), label))
    correct = tf.reduce_sum(tf.cast(right, examples.dtype))
    return Gradient(leaves, examples, {"loss": loss, "correct": correct, "examples": examples})


def run_steps(
    batches: Batches, carry: Carry, body: Callable[[tf.Tensor, Carry], tuple[Carry, Mapping[str, tf.Tensor]]]
) -> tuple[Carry, dict[str, tf.Tensor]]:
    """Runs `body` for each step of a client in order.

    Args:
        batches: of the client.
        carry: what the first step starts from.
        body: step and carry -> the next carry, and the metrics of `differentiate`.

    Returns:
        What the last step left, and the sums of the metrics.
    """
    dtype = tf.nest.flatten(carry)[0].dtype
    metrics = {name: tf.zeros([], dtype) for name in ("loss", "correct", "examples")}

    def advance(step: tf.Tensor, carry: Carry, metrics: dict[str, tf.Tensor]) -> tuple[object, ...]:
        carry, added = body(step, carry)
        return step + 1, carry, {name: value + added[name] for name, value in metrics.items()}

    _, carry, metrics = tf.while_loop(lambda step, *_: step < batches.stop, advance, (batches.start, carry, metrics))
    return carry, metrics


def train_locally(
    apply: Apply, start: Tensors, batches: Batches, key: tf.Tensor, *, rate: tf.Tensor, proximal: float = 0.0
) -> tuple[Tensors, dict[str, tf.Tensor]]:
    """SGD over all steps of a client.

    Args:
        apply: the model.
        start: weights that it starts from.
        batches: of the client.
        key: int32 `[3]`.
        rate: of learning.
        proximal: mu of a term mu / 2 ||w - start||^2 in the loss.

    Returns:
        The last weights, and the metrics.
    """

    def step(number: tf.Tensor, weights: Tensors) -> tuple[Tensors, dict[str, tf.Tensor]]:
        gradient = differentiate(apply, weights, batches, number, key)
        leaves = gradient.leaves
        if proximal:
            leaves = add(leaves, subtract(weights, start), scale=proximal)
        return add(weights, leaves, scale=-rate), gradient.metrics

    return run_steps(batches, start, step)


def average_gradient(
    apply: Apply, weights: Tensors, batches: Batches, key: tf.Tensor
) -> tuple[Tensors, dict[str, tf.Tensor]]:
    """The gradient of the mean loss over all examples of a client, and the metrics."""

    def step(number: tf.Tensor, total: Tensors) -> tuple[Tensors, dict[str, tf.Tensor]]:
        gradient = differentiate(apply, weights, batches, number, key)
        return add(total, gradient.leaves, scale=gradient.examples), gradient.metrics

    total, metrics = run_steps(batches, [tf.zeros_like(weight) for weight in weights], step)
    return [leaf / tf.maximum(metrics["examples"], 1) for leaf in total], metrics


def add(leaves: Tensors, others: Tensors, *, scale: tf.Tensor | float) -> Tensors:
    """``leaves + scale * others``."""
    return [leaf + scale * other for leaf, other in zip(leaves, others, strict=True)]


def subtract(leaves: Tensors, others: Tensors) -> Tensors:
    """``leaves - others``."""
    return [leaf - other for leaf, other in zip(leaves, others, strict=True)]


def keep_nothing(weights: Leaves) -> Leaves:  # noqa: ARG001
    """The first state of a client whose algorithm keeps none."""
    return []


def twice(weights: Leaves) -> Leaves:
    """Leaves like an update of a change of the weights and, behind it, as much again."""
    return [*weights, *weights]


def as_leaf(value: float, weights: Leaves) -> NDArray[Any]:
    """A scalar in the type of the weights."""
    return np.asarray(value, weights[0].dtype)
