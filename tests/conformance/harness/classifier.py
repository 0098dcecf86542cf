"""What the small text classifiers of the tests have in common: the frame of an ONNX graph, and of a bundle."""

from collections.abc import Mapping, Sequence
from typing import Any

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
)

WORDS = ("late", "broken", "thanks", "the", "box")
LABELS = ["complaint", "praise"]
OPSET = 17


def build_model(
    name: str, nodes: Sequence[onnx.NodeProto], constants: Mapping[str, np.ndarray[Any, Any]]
) -> onnx.ModelProto:
    """Frames `nodes` that turn token_ids `[B,T]` into attention `[B,T]` and probabilities `[B,C]`."""
    graph = helper.make_graph(
        nodes,
        name,
        [helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["batch", "tokens"])],
        [
            # In this order on purpose: who fetches by position gets the wrong one.
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["batch", "tokens"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(LABELS)]),
        ],
        [numpy_helper.from_array(value, key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def bundle_parts(
    name: str,
    model: onnx.ModelProto,
    vocabulary: Sequence[str],
    golden: GoldenRecord,
    *,
    max_tokens: int,
    rounds: int = 1,
) -> dict[str, Any]:
    """Arguments of `worker.bundle.write_bundle`."""
    return {
        "name": name,
        "contents": {
            "model.onnx": model.SerializeToString(),
            "vocabulary.txt": encode_vocabulary(vocabulary),
            "golden.jsonl": msgspec.json.encode(golden) + b"\n",
        },
        "task": "classify",
        "fields": [TextField("text", "token_ids", "vocabulary.txt", max_tokens)],
        "graphs": [
            Graph(
                "model.onnx",
                [Tensor("token_ids", "INT32", [-1, -1])],
                [Tensor("probabilities", "FP32", [-1, len(LABELS)]), Tensor("attention", "FP32", [-1, -1])],
            )
        ],
        "attention": [AttentionAxes("tokens", "attention", "text", ["token"])],
        "labels": LABELS,
        "opset": OPSET,
        "parity": Parity(0.0, 1),
        "golden": "golden.jsonl",
        "histograms": {},
        "training": Training(name, "none", rounds, 1, 1, 0.0, {}, {}),
        "privacy": "none",
    }
