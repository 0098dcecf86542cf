"""Versions of a model of the demo's size: an LSTM under one query of attention, with random weights."""

from pathlib import Path

import numpy as np
import onnx
from harness.classifier import LABELS, WORDS, build_model, bundle_parts
from numpy.typing import NDArray
from onnx import helper
from onnx.reference import ReferenceEvaluator

from worker.bundle import GoldenRecord, write_bundle

VOCABULARY_SIZE, EMBEDDING, HIDDEN, MAX_TOKENS = 8000, 64, 64, 64
NAME = "attention-lstm"
GOLDEN_TEXT = "the box late"


def write_version(root: Path, seed: int, *, max_tokens: int = MAX_TOKENS) -> Path:
    """Writes the bundle of the weights that `seed` gives, below `root`, and returns its directory."""
    vocabulary = ["[PAD]", "[UNK]", *WORDS]
    vocabulary += [f"word{number}" for number in range(VOCABULARY_SIZE - len(vocabulary))]
    model = _build_model(_draw_weights(seed))
    ids = np.array([[vocabulary.index(word) for word in GOLDEN_TEXT.split()]], np.int32)
    # ONNX's own slow twin, and not ONNX Runtime, says what is right.
    probabilities, weights = ReferenceEvaluator(model).run(["probabilities", "attention"], {"token_ids": ids})
    golden = GoldenRecord({"text": GOLDEN_TEXT}, probabilities[0].tolist(), {"tokens": weights[0].tolist()})
    return write_bundle(root, **bundle_parts(NAME, model, vocabulary, golden, max_tokens=max_tokens, rounds=seed))


def _draw_weights(seed: int) -> dict[str, NDArray[np.float32]]:
    chance = np.random.default_rng(seed)
    shapes = {
        "embedding": (VOCABULARY_SIZE, EMBEDDING),
        "kernel": (1, 4 * HIDDEN, EMBEDDING),
        "recurrent": (1, 4 * HIDDEN, HIDDEN),
        "query": (HIDDEN, 1),
        "votes": (HIDDEN, len(LABELS)),
    }
    return {name: chance.normal(scale=0.1, size=shape).astype(np.float32) for name, shape in shapes.items()}


def _build_model(weights: dict[str, NDArray[np.float32]]) -> onnx.ModelProto:
    """softmax(h . query) over the steps of an LSTM on right-padded rows; the weighted mean of the steps votes."""
    constants = {
        "pad": np.array(0, np.int32),
        "masked": np.array(-1e9, np.float32),
        "axis1": np.array([1], np.int64),
        "axis2": np.array([2], np.int64),
    }
    node = helper.make_node
    nodes = [
        node("Gather", ["embedding", "token_ids"], ["embedded"]),
        node("Transpose", ["embedded"], ["by_time"], perm=[1, 0, 2]),
        node("LSTM", ["by_time", "kernel", "recurrent"], ["steps", "", ""], hidden_size=HIDDEN),
        node("Squeeze", ["steps", "axis1"], ["squeezed"]),
        node("Transpose", ["squeezed"], ["hidden"], perm=[1, 0, 2]),
        node("MatMul", ["hidden", "query"], ["column"]),
        node("Squeeze", ["column", "axis2"], ["scores"]),
        node("Equal", ["token_ids", "pad"], ["is_pad"]),
        node("Where", ["is_pad", "masked", "scores"], ["kept"]),
        node("Softmax", ["kept"], ["attention"], axis=1),
        node("Unsqueeze", ["attention", "axis1"], ["row"]),
        node("MatMul", ["row", "hidden"], ["context3"]),
        node("Squeeze", ["context3", "axis1"], ["context"]),
        node("MatMul", ["context", "votes"], ["logits"]),
        node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    return build_model(NAME, nodes, {**weights, **constants})
