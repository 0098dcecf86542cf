"""The TensorFlow side: a SavedModel's signatures, and the answers that ONNX Runtime has to reproduce.

``serving_default``
    token_ids int32 `[B, T]` -> probabilities `[B, C]`, attention `[B, T]`; exact for rows padded with 0.
``unpadded`` (LSTM and GRU encoders)
    the same weights with the recurrent layers built without a mask: exact only for rows without padding, but tf2onnx
    turns it into one fused node a layer. `export.sequence_lens` makes that node exact for padded rows too.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.assets import Assets
from export.errors import SavedModelError
from worker.bundle import AttentionAxes
from worker.ports import Scores

MASKED, UNPADDED = "serving_default", "unpadded"
PROBABILITIES = "probabilities"

DIVERGED = (
    "its training diverged. Train the model again with a lower training.client_learning_rate or "
    "training.server_learning_rate."
)

Shape = list[int | None]
"""None where the size is free."""


class SavedModel(NamedTuple):
    """A loaded SavedModel that fulfils the contract above."""

    path: Path
    signatures: Mapping[str, Any]
    """Signature name -> concrete function. Holds the weights' owner, see `load_saved_model`."""
    owner: Any
    """TensorFlow's object. The concrete functions only refer to its variables: it must outlive them."""
    input: str
    outputs: list[str]
    """Probabilities first, then the attention outputs."""
    classes: int


class SavedModelScorer:
    """Runs ``serving_default`` in TensorFlow. Implements `worker.ports.Scorer`."""

    def __init__(self, model: SavedModel, attention: list[AttentionAxes]) -> None:
        self._model = model
        self._attention = {axes.name: axes.output for axes in attention}

    def score(self, token_ids: NDArray[np.int32]) -> Scores:
        """Implements `worker.ports.Scorer`.

        Raises:
            SavedModelError: TensorFlow cannot run the batch, or an answer is not finite.
        """
        try:
            outputs = self._model.signatures[MASKED](**{self._model.input: tf.constant(token_ids)})
        except tf.errors.OpError as error:
            raise SavedModelError(
                f"signature {MASKED!r} failed on a batch of shape {token_ids.shape}: {error.message}. "
                "Do vocabulary.txt and the weights belong together?"
            ) from error
        for name in self._model.outputs:
            if not np.isfinite(outputs[name]).all():
                raise SavedModelError(f"{self._model.path} answers with {name} that are not finite: {DIVERGED}")
        attention = {name: outputs[output].numpy() for name, output in self._attention.items()}
        return Scores(outputs[PROBABILITIES].numpy(), attention)


def load_saved_model(path: Path, assets: Assets) -> SavedModel:
    """
    Raises:
        SavedModelError: there is no SavedModel at `path`, a signature is missing or has other tensors than the model
            card names, or a weight is not finite.
    """
    check_saved_model(path)
    try:
        owner = tf.saved_model.load(str(path))
    except Exception as error:
        # TensorFlow raises whatever its parsers raise: OSError, ValueError, protobuf's DecodeError, OpError.
        raise SavedModelError(f"{path} is not a SavedModel that TensorFlow can load: {error}") from error
    attention = [axes.output for axes in assets.card.attention]
    outputs = [PROBABILITIES, *attention]
    if MASKED not in owner.signatures:
        found = ", ".join(owner.signatures) or "none"
        raise SavedModelError(f"{path} has no signature {MASKED!r} (found: {found}). Save the model with it.")
    classes = len(assets.card.labels)
    expected: dict[str, Shape] = {PROBABILITIES: [None, classes], **{output: [None, None] for output in attention}}
    for name in (MASKED, UNPADDED):
        if name in owner.signatures:
            _check_signature(f"{path}, signature {name!r}", owner.signatures[name], assets.field.input, expected)
    for weight in owner.signatures[MASKED].variables:
        if weight.dtype.is_floating and not np.isfinite(weight.numpy()).all():
            raise SavedModelError(f"{path}: the weight {weight.name!r} is not finite: {DIVERGED}")
    return SavedModel(path, owner.signatures, owner, assets.field.input, outputs, classes)


def check_saved_model(path: Path) -> None:
    """
    Raises:
        SavedModelError: there is no SavedModel at `path`.
    """
    if not (path / "saved_model.pb").is_file():
        raise SavedModelError(
            f"no SavedModel at {path}: saved_model.pb is missing. "
            "Give the directory that `python -m federated train` saved."
        )


def _check_signature(where: str, signature: Any, name: str, outputs: dict[str, Shape]) -> None:
    inputs = signature.structured_input_signature[1]
    tensors: list[tuple[str, Any, Any, Shape]] = [(name, inputs, tf.int32, [None, None])]
    tensors += [(name, signature.structured_outputs, tf.float32, shape) for name, shape in outputs.items()]
    for tensor, found, dtype, shape in tensors:
        if tensor not in found:
            raise SavedModelError(f"{where} has no tensor {tensor!r}, only {', '.join(found)}. Save the model again.")
        spec = found[tensor]
        if spec.dtype != dtype or not spec.shape.is_compatible_with(shape):
            raise SavedModelError(
                f"{where}: tensor {tensor!r} is {spec.dtype.name} {spec.shape}, expected {dtype.name} {shape}. "
                "Do model.json and the weights belong together?"
            )
