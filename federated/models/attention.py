"""Dot-product attention with one learned query.

Representation: keys `[B, T, K]`, values `[B, T, D]`, ``kept`` bool `[B, T]`, true where a token stands.

    score_i = q . k_i / sqrt(K)        (plain ``dot`` leaves out the division)
    w       = softmax over the kept positions, exactly 0 elsewhere
    context = sum_i w_i v_i

Scaling after Vaswani et al., 2017, https://arxiv.org/abs/1706.03762, section 3.2.1.
"""

import math
from typing import Any

import tensorflow as tf


def attend(
    query: tf.Tensor, keys: tf.Tensor, values: tf.Tensor, kept: tf.Tensor, *, scaled: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Looks up `values` by how well `keys` match `query`.

    Args:
        query: `[K]`.
        keys: `[B, T, K]`.
        values: `[B, T, D]`.
        kept: bool `[B, T]`.
        scaled: divide the scores by sqrt(K).

    Returns:
        context `[B, D]` and weights `[B, T]`. A row without any kept position gets zeros, never NaN.
    """
    scores = tf.linalg.matvec(keys, query)
    if scaled:
        scores /= math.sqrt(keys.shape[-1])
    # Padding takes part neither in the maximum nor in the sum, so it cannot change a kept weight by rounding.
    scores = tf.where(kept, scores, scores.dtype.min)
    exponentials = tf.exp(scores - tf.reduce_max(scores, axis=-1, keepdims=True))
    exponentials *= tf.cast(kept, scores.dtype)
    weights = tf.math.divide_no_nan(exponentials, tf.reduce_sum(exponentials, axis=-1, keepdims=True))
    return tf.linalg.matvec(values, weights, transpose_a=True), weights


class LearnedQueryAttention(tf.keras.layers.Layer):
    """Projects its values to keys and attends with a query that is a weight of the layer."""

    def __init__(self, key_size: int, *, scaled: bool, **options: Any) -> None:
        """
        Args:
            key_size: size of keys and query.
            scaled: divide the scores by the root of `key_size`.
            options: Keras's own, e.g. ``name``.
        """
        super().__init__(**options)
        self._scaled = scaled
        # A bias would add the same q . b to every score, which softmax cancels.
        self._projection = tf.keras.layers.Dense(key_size, use_bias=False, name="keys")
        self._key_size = key_size

    def build(self, input_shape: Any) -> None:
        """Creates the query."""
        self.query = self.add_weight("query", shape=(self._key_size,), initializer="glorot_uniform")
        super().build(input_shape)

    def call(self, values: tf.Tensor, kept: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """See `attend`; the keys are a projection of the values."""
        return attend(self.query, self._projection(values), values, kept, scaled=self._scaled)
