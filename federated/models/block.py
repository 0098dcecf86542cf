"""The text classifier as two pure functions: what clients train, under every engine.

::

    token ids [B, T] ─▶ embedding ─▶ encoder ─▶ attention ─▶ dropout ─▶ logits [B, C]
                             └──────────────────────▲

Leaves, in the order in which `federated.models.classifier`, the view for export, lists them: the embedding; kernel,
recurrent kernel and bias of the encoder, forwards and then backwards; the query and the projection to keys; kernel and
bias of the last layer. No part keeps a state of its own, and randomness comes from a key alone.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from federated.algorithms.definition import Leaves, Tensors
from federated.algorithms.local import Apply
from federated.config import ModelConfig
from federated.models.attention import attend
from federated.models.dropout import drop
from federated.models.initial import draw_normal, draw_orthogonal, draw_uniform
from federated.models.recurrent import CELLS, encode
from worker.features import PAD_ID

EMBEDDING_STDDEV = 0.3
"""Keras's own start, uniform within 0.05, leaves attention without a gradient for the first dozens of rounds."""


class Model(NamedTuple):
    """A model block."""

    init: Callable[[int], Leaves]
    """Key -> first weights, float32."""
    apply: Apply
    """Gives, beside the logits, the weights of the attention `[B, T]`, or None without one."""


def build_model(config: ModelConfig, *, vocabulary_size: int, classes: int) -> Model:
    """Builds the block.

    Args:
        config: the architecture.
        vocabulary_size: number of token ids, padding and unknown among them.
        classes: C.
    """
    cell = CELLS[config.encoder]
    directions = 1 + config.bidirectional
    width = config.hidden_size * directions
    attends = config.attention != "none"
    if attends:
        width += config.embedding_size

    def init(key: int) -> Leaves:
        random = np.random.default_rng(key)
        leaves: Leaves = [draw_normal(random, (vocabulary_size, config.embedding_size), deviation=EMBEDDING_STDDEV)]
        gates = cell.gates * config.hidden_size
        for _ in range(directions):
            bias = np.zeros((2, gates) if cell.has_recurrent_bias else gates, np.float32)
            if config.encoder == "lstm":
                # An LSTM that starts by forgetting learns late (Jozefowicz et al., 2015).
                bias[config.hidden_size : 2 * config.hidden_size] = 1
            leaves += [draw_uniform(random, (config.embedding_size, gates))]
            leaves += [draw_orthogonal(random, (config.hidden_size, gates)), bias]
        if attends:
            leaves += [draw_uniform(random, (config.key_size,)), draw_uniform(random, (width, config.key_size))]
        return [*leaves, draw_uniform(random, (width, classes)), np.zeros(classes, np.float32)]

    def apply(
        weights: Tensors, features: Mapping[str, tf.Tensor], key: tf.Tensor, *, training: bool
    ) -> tuple[tf.Tensor, tf.Tensor | None]:
        kept = tf.not_equal(features["token_ids"], PAD_ID)
        embedded = tf.gather(weights[0], features["token_ids"])
        states = [encode(config.encoder, weights[1:4], embedded, kept)]
        if config.bidirectional:
            states.append(encode(config.encoder, weights[4:7], embedded, kept, backwards=True))
        if attends:
            values = tf.concat([embedded, *states], axis=-1)
            query, projection = weights[-4:-2]
            keys = tf.tensordot(values, projection, 1)
            context, attention = attend(query, keys, values, kept, scaled=config.attention == "scaled_dot")
        else:
            context, attention = _read_last(states, kept), None
        context = drop(context, config.dropout if training else 0.0, key)
        return context @ weights[-2] + weights[-1], attention

    return Model(init, apply)


def _read_last(states: Tensors, kept: tf.Tensor) -> tf.Tensor:
    """What each direction has read at its end: forwards at the last token, backwards at the first."""
    # A state stays as it is at padding, so the last position would do, but nothing is written beyond the longest row.
    last = tf.maximum(tf.reduce_sum(tf.cast(kept, tf.int32), axis=-1) - 1, 0)
    chosen = tf.one_hot(last, kept.shape[1], dtype=states[0].dtype)
    read = [tf.linalg.matvec(states[0], chosen, transpose_a=True)]
    return tf.concat([*read, *(backwards[:, 0] for backwards in states[1:])], axis=-1)
