"""The smallest bundle that a worker accepts, with a planted fault: one token makes the answer not a number.

The golden records do not contain that token, so the model is whole and only a record that does is to blame.
"""

from pathlib import Path

import msgspec
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

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

POISON, DEADLY, SLOW = "plutonium", "guillotine", "molasses"
"""Tokens: the answer is not a number; the process dies; a batch takes seconds (the last two by `harness.sabotage`)."""
WORDS = ("late", "broken", "thanks", "the", "box")
VOCABULARY = ["[PAD]", "[UNK]", *WORDS, POISON, DEADLY, SLOW]
LABELS = ["complaint", "praise"]
MAX_TOKENS = 16


def write_model(root: Path) -> Path:
    """Writes the bundle below `root` and returns its directory."""
    votes = np.random.default_rng(3).normal(size=(len(VOCABULARY), len(LABELS))).astype(np.float32)
    golden_ids = [VOCABULARY.index(word) for word in ("the", "box", "late")]
    logits = votes[golden_ids].mean(axis=0)
    probabilities = np.exp(logits) / np.exp(logits).sum()
    golden = GoldenRecord({"text": "the box late"}, probabilities.tolist(), {"tokens": [1 / 3] * 3})
    votes[VOCABULARY.index(POISON)] = np.nan
    return write_bundle(
        root,
        name="planted",
        contents={
            "model.onnx": _build_graph(votes),
            "vocabulary.txt": encode_vocabulary(VOCABULARY),
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
        training=Training("planted", "none", 1, 1, 1, 0.0, {}, {}),
        privacy="none",
    )


def _build_graph(votes: np.ndarray) -> bytes:
    """softmax(mean of the unpadded rows of `votes` `[V,C]`); every kept position weighs the same."""
    initializers = {
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
    graph = helper.make_graph(
        nodes,
        "planted",
        [helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["batch", "tokens"])],
        [
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(LABELS)]),
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["batch", "tokens"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in initializers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()
