"""The steps on the client in TensorFlow, pure enough for XLA; `federated.aggregation.reference` says what they mean."""

import tensorflow as tf

from federated.aggregation.reference import CLIP_MARGIN, LEVELS

Tensors = list[tf.Tensor]


def screen(update: Tensors) -> tuple[Tensors, tf.Tensor]:
    """See `reference.screen`."""
    kept = tf.reduce_all([tf.reduce_all(tf.math.is_finite(leaf)) for leaf in update])
    # A product with 0 would keep what is not a number.
    return [tf.where(kept, leaf, tf.zeros_like(leaf)) for leaf in update], tf.cast(kept, update[0].dtype)


def clip(update: Tensors, bound: tf.Tensor) -> tuple[Tensors, tf.Tensor]:
    """See `reference.clip`."""
    largest = tf.reduce_max([tf.reduce_max(tf.abs(leaf)) for leaf in update])
    unit = tf.where(largest > 0, largest, tf.ones_like(largest))
    wide = tf.cast(unit, tf.float64)
    norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(tf.cast(leaf, tf.float64) / wide)) for leaf in update]))
    target = tf.cast(bound, tf.float64) * (1 - CLIP_MARGIN)
    under = wide * norm <= target
    factor = tf.cast(target / tf.maximum(norm, tf.ones_like(norm)), bound.dtype)
    return [tf.where(under, leaf, leaf / unit * factor) for leaf in update], tf.cast(under, bound.dtype)


def add(update: Tensors, other: Tensors) -> Tensors:
    """See `reference.add`."""
    return [left + right for left, right in zip(update, other, strict=True)]


def scale(update: Tensors, factor: tf.Tensor) -> Tensors:
    """See `reference.scale`."""
    return [leaf * factor for leaf in update]


def limit(weight: tf.Tensor, most: int) -> tf.Tensor:
    """See `reference.limit`."""
    return tf.minimum(weight, tf.cast(most, weight.dtype))


def stack(scalars: Tensors) -> tf.Tensor:
    """See `reference.stack`."""
    return tf.stack(scalars)


def quantise(update: Tensors, dither: Tensors) -> Tensors:
    """See `reference.quantise`."""
    return [_quantise_leaf(leaf, uniform) for leaf, uniform in zip(update, dither, strict=True)]


def _quantise_leaf(leaf: tf.Tensor, uniform: tf.Tensor) -> tf.Tensor:
    unit = tf.reduce_max(tf.abs(leaf)) / LEVELS
    safe = tf.where(unit > 0, unit, tf.ones_like(unit))
    levels = tf.clip_by_value(tf.floor(leaf / safe + uniform), -LEVELS, LEVELS)
    return tf.where(unit > 0, levels * safe, tf.zeros_like(leaf))


def encode(update: Tensors, resolution: tf.Tensor) -> Tensors:
    """See `reference.encode`."""
    # A cast to an integer rounds towards 0.
    return [tf.cast(leaf * resolution, tf.int32) for leaf in update]
