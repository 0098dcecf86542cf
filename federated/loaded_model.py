"""A trained model, read back from its SavedModel."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from federated.errors import DataError
from worker.bundle import ModelCard, TextField, decode_vocabulary

BATCH = 256


class LoadedModel(NamedTuple):
    """The exact signature, and what its numbers mean."""

    card: ModelCard
    vocabulary: list[str]
    signature: object
    """``serving_default``, see `federated.saved_model`. It holds the variables' owner, which must not be collected."""

    @property
    def field(self) -> TextField:
        """The text that the model reads."""
        return self.card.fields[0]

    def get_weights(self) -> list[NDArray[np.float32]]:
        """Copies of the weights, in the order of `federated.models.block`'s leaves."""
        return [weight.numpy() for weight in self.signature.owner.weights]

    def set_weights(self, values: Sequence[NDArray[np.float32]]) -> None:
        """Overwrites the weights in memory."""
        for weight, value in zip(self.signature.owner.weights, values, strict=True):
            weight.assign(value)

    def predict(self, token_ids: NDArray[np.int32]) -> NDArray[np.float32]:
        """Token ids `[N, T]` -> probabilities `[N, C]`."""
        batches = np.array_split(token_ids, -(-len(token_ids) // BATCH))
        return np.concatenate([self.answer(batch)["probabilities"] for batch in batches])

    def answer(self, token_ids: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
        """Token ids `[N, T]` -> ``probabilities`` `[N, C]` and, with attention, ``attention`` `[N, T]`."""
        return {name: value.numpy() for name, value in self.signature(token_ids=tf.constant(token_ids)).items()}


def load_model(path: Path) -> LoadedModel:
    """Reads what `federated.saved_model.write_saved_model` wrote.

    Raises:
        DataError: there is no model, or it is damaged.
    """
    assets = path / "assets.extra"
    try:
        card = msgspec.json.decode((assets / "model.json").read_bytes(), type=ModelCard)
        vocabulary = decode_vocabulary((assets / "vocabulary.txt").read_bytes())
        module = tf.saved_model.load(str(path))
    except OSError as error:
        reason = error.strerror or str(error).partition("\n")[0]
        raise DataError(f"{path} is no trained model: {reason}. Name the directory that train wrote.") from error
    except (msgspec.DecodeError, ValueError, tf.errors.OpError) as error:
        raise DataError(f"{path} is damaged: {str(error).partition(chr(10))[0]}. Train it again.") from error
    signature = module.signatures["serving_default"]
    signature.owner = module
    return LoadedModel(card, vocabulary, signature)
