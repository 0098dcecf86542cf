"""The smallest bundle that a worker accepts, with a planted fault: one token makes the answer not a number.

The golden records do not contain that token, so the model is whole and only a record that does is to blame.
"""

from pathlib import Path

import numpy as np
import onnx
from harness.classifier import LABELS, WORDS, build_model, bundle_parts
from onnx import TensorProto, helper

from worker.bundle import GoldenRecord, write_bundle

POISON, DEADLY, SLOW = "plutonium", "guillotine", "molasses"
"""Tokens: the answer is not a number; the process dies; a batch takes seconds (the last two by `harness.sabotage`)."""
VOCABULARY = ["[PAD]", "[UNK]", *WORDS, POISON, DEADLY, SLOW]
MAX_TOKENS = 16


def write_model(root: Path) -> Path:
    """Writes the bundle below `root` and returns its directory."""
    votes = np.random.default_rng(3).normal(size=(len(VOCABULARY), len(LABELS))).astype(np.float32)
    golden_ids = [VOCABULARY.index(word) for word in ("the", "box", "late")]
    logits = votes[golden_ids].mean(axis=0)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    golden = GoldenRecord({"text": "the box late"}, probabilities.tolist(), {"tokens": [1 / 3] * 3})
    votes[VOCABULARY.index(POISON)] = np.nan
    parts = bundle_parts("planted", _build_model(votes), VOCABULARY, golden, max_tokens=MAX_TOKENS)
    return write_bundle(root, **parts)


def _build_model(votes: np.ndarray) -> onnx.ModelProto:
    """softmax(mean of the unpadded rows of `votes` `[V,C]`); every kept position weighs the same."""
    constants = {
        "votes": votes,
        "pad": np.array(0, np.int32),
        "last": np.array([1], np.int64),
        "middle": np.array([1], np.int64),
    }
    nodes = [
        helper.make_node("Equal", ["token_ids", "pad"], ["is_pad"]),
        helper.make_node("Not", ["is_pad"], ["is_kept"]),
        helper.make_node("Cast", ["is_kept"], ["kept"], to=TensorProto.FLOAT),
        helper.make_node("ReduceSum", ["kept", "last"], ["lengths"], keepdims=1),
        helper.make_node("Div", ["kept", "lengths"], ["attention"]),
        helper.make_node("Unsqueeze", ["attention", "middle"], ["weights"]),
        helper.make_node("Gather", ["votes", "token_ids"], ["rows"]),
        helper.make_node("MatMul", ["weights", "rows"], ["context"]),
        helper.make_node("Squeeze", ["context", "middle"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    return build_model("planted", nodes, constants)
