"""What clients do with their batches: the steps that the algorithms are made of. Pure TensorFlow.

Every metric is a sum, so that clients can be added up: ``loss`` and ``correct`` over the examples as they were met, in
training, and ``examples``.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar

import tensorflow as tf

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


def descend(weights: Tensors, gradients: Tensors, learning_rate: tf.Tensor) -> Tensors:
    """One step of gradient descent."""
    return [weight - learning_rate * gradient for weight, gradient in zip(weights, gradients, strict=True)]


def keep_nothing(weights: Leaves) -> Leaves:  # noqa: ARG001
    """The first state of a client whose algorithm keeps none."""
    return []


def subtract(after: Tensors, before: Tensors) -> Tensors:
    """Leaf by leaf."""
    return [new - old for new, old in zip(after, before, strict=True)]
