"""Versions of a model of the demo's size: an LSTM under one query of attention, with random weights."""

from pathlib import Path

import msgspec
import numpy as np
import onnx
from harness.model import LABELS, WORDS
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from worker.bundle import (
    AttentionAxes,
    GoldenRecord,
    Graph,
    Parity,
    Tensor,
    TextField,
    Training,
    encode_vocabulary,
    write_bundle,
)

VOCABULARY_SIZE, EMBEDDING, HIDDEN, MAX_TOKENS = 8000, 64, 64, 64
NAME = "attention-lstm"
GOLDEN_TEXT = "the box late"


def write_version(root: Path, seed: int) -> Path:
    """Writes the bundle of the weights that `seed` gives, below `root`, and returns its directory."""
    vocabulary = ["[PAD]", "[UNK]", *WORDS]
    vocabulary += [f"word{number}" for number in range(VOCABULARY_SIZE - len(vocabulary))]
    model = _build_model(_draw_weights(seed))
    ids = np.array([[vocabulary.index(word) for word in GOLDEN_TEXT.split()]], np.int32)
    # ONNX's own slow twin, and not ONNX Runtime, says what is right.
    probabilities, weights = ReferenceEvaluator(model).run(["probabilities", "attention"], {"token_ids": ids})
    golden = GoldenRecord({"text": GOLDEN_TEXT}, probabilities[0].tolist(), {"tokens": weights[0].tolist()})
    return write_bundle(
        root,
        name=NAME,
        contents={
            "model.onnx": model.SerializeToString(),
            "vocabulary.txt": encode_vocabulary(vocabulary),
            "golden.jsonl": msgspec.json.encode(golden) + b"\n",
        },
        task="classify",
        fields=[TextField("text", "token_ids", "vocabulary.txt", MAX_TOKENS)],
        graphs=[
            Graph(
                "model.onnx",
                [Tensor("token_ids", "INT32", [-1, -1])],
                [Tensor("probabilities", "FP32", [-1, len(LABELS)]), Tensor("attention", "FP32", [-1, -1])],
            )
        ],
        attention=[AttentionAxes("tokens", "attention", "text", ["token"])],
        labels=LABELS,
        opset=17,
        parity=Parity(0.0, 1),
        golden="golden.jsonl",
        histograms={},
        training=Training(NAME, "none", seed, 1, seed, 0.0, {}, {}),
        privacy="none",
    )


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
    graph = helper.make_graph(
        nodes,
        NAME,
        [helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["batch", "tokens"])],
        [
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["batch", "tokens"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(LABELS)]),
        ],
        [numpy_helper.from_array(value, name) for name, value in {**weights, **constants}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
