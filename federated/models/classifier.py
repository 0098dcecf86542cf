"""The text classifier: Embedding -> encoder -> attention -> softmax, as several views of the same weights.

Token ids are int32 `[B, T]`, padded on the right with `worker.features.PAD_ID`. The recurrent layers are Keras's own,
because only those become one ONNX node each.
"""

from typing import Any, NamedTuple

import tensorflow as tf

from federated.config import ModelConfig
from federated.models.attention import LearnedQueryAttention
from worker.features import PAD_ID

_ENCODERS = {
    "lstm": tf.keras.layers.LSTM,
    "gru": tf.keras.layers.GRU,
    "simple_rnn": tf.keras.layers.SimpleRNN,
}


class Classifier(NamedTuple):
    """Keras models that share every weight."""

    training: tf.keras.Model
    """token ids -> logits `[B, C]`."""
    serving: tf.keras.Model
    """token ids -> {``probabilities`` `[B, C]`, ``attention`` `[B, T]`}; padding changes nothing."""
    unpadded: tf.keras.Model
    """As `serving`, but the encoder runs over padding too: exact only for rows without any. Its recurrent layers
    become single ONNX nodes, to which export gives each row's length."""


class KeptPositions(tf.keras.layers.Layer):
    """Token ids -> bool `[B, T]`, true where a token stands."""

    def call(self, token_ids: tf.Tensor) -> tf.Tensor:
        """See the class."""
        return tf.not_equal(token_ids, PAD_ID)


class LastState(tf.keras.layers.Layer):
    """Picks what each direction of the encoder has read at its end: forward at the last token, backward at the first.

    Written as a lookup because ``return_sequences=False`` of an encoder without a mask returns the state after the
    padding.
    """

    def __init__(self, *, bidirectional: bool, **options: Any) -> None:
        """
        Args:
            bidirectional: the states are two directions beside each other.
            options: Keras's own, e.g. ``name``.
        """
        super().__init__(**options)
        self._bidirectional = bidirectional

    def call(self, states: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
        """`[B, T, H]` -> `[B, H]`."""
        lengths = tf.reduce_sum(tf.cast(kept, tf.int32), axis=-1)
        last = tf.gather(states, tf.maximum(lengths - 1, 0), axis=1, batch_dims=1)
        if not self._bidirectional:
            return last
        half = states.shape[-1] // 2
        return tf.concat([last[:, :half], states[:, 0, half:]], axis=-1)


def build_classifier(config: ModelConfig, *, vocabulary_size: int, classes: int) -> Classifier:
    """Builds the views with fresh weights, drawn from Keras's global seed.

    Args:
        config: the architecture.
        vocabulary_size: number of token ids, padding and unknown among them.
        classes: C.
    """
    token_ids = tf.keras.Input([None], dtype=tf.int32, name="token_ids")
    kept = KeptPositions(name="kept")(token_ids)
    embedded = tf.keras.layers.Embedding(vocabulary_size, config.embedding_size, name="embedding")(token_ids)
    encoder = _build_encoder(config)
    read = _build_reader(config)
    output = tf.keras.layers.Dense(classes, name="classifier")
    logits, serving = _read(read, output, embedded, encoder(embedded, mask=kept), kept)
    _, unpadded = _read(read, output, embedded, encoder(embedded), kept)
    return Classifier(
        training=tf.keras.Model(token_ids, logits),
        serving=tf.keras.Model(token_ids, serving),
        unpadded=tf.keras.Model(token_ids, unpadded),
    )


def _build_encoder(config: ModelConfig) -> tf.keras.layers.Layer:
    encoder = _ENCODERS[config.encoder](config.hidden_size, return_sequences=True, name=config.encoder)
    return tf.keras.layers.Bidirectional(encoder, name=f"bi{config.encoder}") if config.bidirectional else encoder


def _build_reader(config: ModelConfig) -> tf.keras.layers.Layer:
    if config.attention == "none":
        return LastState(bidirectional=config.bidirectional, name="last_state")
    return LearnedQueryAttention(config.key_size, scaled=config.attention == "scaled_dot", name="attention")


def _read(
    reader: tf.keras.layers.Layer,
    output: tf.keras.layers.Layer,
    embedded: tf.Tensor,
    states: tf.Tensor,
    kept: tf.Tensor,
) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
    if isinstance(reader, LastState):
        logits = output(reader(states, kept))
        return logits, {"probabilities": tf.keras.layers.Softmax(name="probabilities")(logits)}
    keys = tf.keras.layers.Concatenate()([embedded, states])
    context, weights = reader(keys, states, kept)
    logits = output(context)
    return logits, {"probabilities": tf.keras.layers.Softmax(name="probabilities")(logits), "attention": weights}
