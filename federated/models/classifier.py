"""The text classifier of `federated.models.block` in Keras's layers, for evaluation and export only.

Token ids are int32 `[B, T]`, padded on the right with `worker.features.PAD_ID`. The recurrent layers are Keras's own,
because only those become one ONNX node each; a test holds both forms equal.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from tensorflow.types.experimental import ConcreteFunction

from federated.config import ModelConfig
from federated.models.attention import LearnedQueryAttention
from worker.features import PAD_ID

TOKEN_IDS = tf.TensorSpec([None, None], tf.int32, name="token_ids")

_ENCODERS = {
    "lstm": tf.keras.layers.LSTM,
    "gru": tf.keras.layers.GRU,
    "simple_rnn": tf.keras.layers.SimpleRNN,
}


class Classifier(NamedTuple):
    """Two traced views of the same weights; both take token ids and return a dictionary."""

    weights: list[tf.Variable]
    """In the order of `federated.models.block`'s leaves."""
    serving: ConcreteFunction
    """``probabilities`` `[B, C]` and, with attention, ``attention`` `[B, T]`; padding changes nothing."""
    unpadded: ConcreteFunction | None
    """The same, but the encoder reads padding too: exact only for rows without any. Its recurrent layers become
    single ONNX nodes, to which export gives each row's length. None for `simple_rnn`, which has no such node."""

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Copies of the weights."""
        return [weight.numpy() for weight in self.weights]

    def set_weights(self, values: Sequence[NDArray[np.float32]]) -> None:
        """Overwrites the weights that both views read."""
        for weight, value in zip(self.weights, values, strict=True):
            weight.assign(value)


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


class _Layers:
    """The layers, applied to token ids of any kind: eager, traced or symbolic."""

    def __init__(self, config: ModelConfig, vocabulary_size: int, classes: int) -> None:
        layers = tf.keras.layers
        self._bidirectional = config.bidirectional
        self._kept = KeptPositions(name="kept")
        self._embedding = layers.Embedding(vocabulary_size, config.embedding_size, name="embedding")
        self._encoder = _ENCODERS[config.encoder](config.hidden_size, return_sequences=True, name=config.encoder)
        if config.bidirectional:
            self._encoder = layers.Bidirectional(self._encoder, name=f"bi{config.encoder}")
        self._beside = layers.Concatenate(name="tokens")
        if config.attention == "none":
            self._reader = LastState(bidirectional=config.bidirectional, name="last_state")
        else:
            scaled = config.attention == "scaled_dot"
            self._reader = LearnedQueryAttention(config.key_size, scaled=scaled, name="attention")
        self._classifier = layers.Dense(classes, name="classifier")

    @property
    def weights(self) -> list[tf.Variable]:
        """In the order in which a Keras model lists them."""
        layers = self._embedding, self._encoder, self._reader, self._classifier
        return [weight for layer in layers for weight in layer.weights]

    def __call__(self, token_ids: tf.Tensor, *, exact: bool = True) -> tuple[tf.Tensor, tf.Tensor | None]:
        """Returns logits `[B, C]` and, with attention, its weights `[B, T]`; see `Classifier.unpadded` for `exact`."""
        kept = self._kept(token_ids)
        embedded = self._embedding(token_ids)
        # What a forward encoder has read at a token cannot depend on padding to its right; a backward one starts there.
        states = self._encoder(embedded, mask=kept if exact and self._bidirectional else None)
        if isinstance(self._reader, LastState):
            return self._classifier(self._reader(states, kept)), None
        # Each position offers its token beside the encoder's state. The state alone also tells of the tokens before it,
        # so attention over states alone smears to a deciding token's neighbours, and learns later.
        context, attention = self._reader(self._beside([embedded, states]), kept)
        return self._classifier(context), attention


def build_classifier(config: ModelConfig, *, vocabulary_size: int, classes: int) -> Classifier:
    """Builds a classifier; its weights wait to be set.

    Args:
        config: the architecture.
        vocabulary_size: number of token ids, padding and unknown among them.
        classes: C.
    """
    layers = _Layers(config, vocabulary_size, classes)
    # A first call creates the weights, which a traced function may not do.
    layers(tf.ones([1, 1], tf.int32))

    def trace(*, exact: bool) -> ConcreteFunction:
        @tf.function(input_signature=[TOKEN_IDS])
        def view(token_ids: tf.Tensor) -> dict[str, tf.Tensor]:
            logits, attention = layers(token_ids, exact=exact)
            outputs = {"probabilities": tf.nn.softmax(logits)}
            return outputs if attention is None else {**outputs, "attention": attention}

        return view.get_concrete_function()

    return Classifier(
        weights=layers.weights,
        serving=trace(exact=True),
        unpadded=None if config.encoder == "simple_rnn" else trace(exact=False),
    )
