"""Dropout whose choices depend on a key and a position alone.

TensorFlow's stateless generators give other numbers under XLA than without, and Keras's keep a hidden state. Here a bit
of integer arithmetic, which every engine does alike, mixes the key and the position into 32 bits.
"""

import tensorflow as tf

_INCREMENT, _FIRST, _SECOND = 0x9E3779B9, 0x7FEB352D, 0x846CA68B
"""Weyl increment, and the multipliers of Wellons' ``lowbias32`` (https://nullprogram.com/blog/2018/07/31/)."""


def drop(values: tf.Tensor, rate: float, key: tf.Tensor) -> tf.Tensor:
    """Sets each value to 0 with probability `rate`, and scales the others up by as much.

    Args:
        values: of any shape that is known when this is traced.
        rate: from 0 to below 1; 0 leaves everything as it is.
        key: int32 `[K]`; the same key, the same choices.
    """
    if rate == 0:
        return values
    bits = tf.cast(tf.range(values.shape.num_elements()), tf.uint32) * tf.constant(_INCREMENT, tf.uint32)
    for part in tf.unstack(tf.bitcast(key, tf.uint32)):
        bits = _mix(tf.bitwise.bitwise_xor(bits, _mix(part + tf.constant(_INCREMENT, tf.uint32))))
    kept = tf.reshape(bits >= tf.constant(round(rate * 2**32), tf.uint32), values.shape)
    return tf.where(kept, values / (1 - rate), tf.zeros_like(values))


def _mix(bits: tf.Tensor) -> tf.Tensor:
    for shift, multiplier in (16, _FIRST), (15, _SECOND):
        bits = tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint32)))
        bits *= tf.constant(multiplier, tf.uint32)
    return tf.bitwise.bitwise_xor(bits, tf.bitwise.right_shift(bits, tf.constant(16, tf.uint32)))
