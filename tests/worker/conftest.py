"""A tiny real bundle, built without TensorFlow: its ONNX graph is small enough to be repeated in NumPy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from worker.bundle import (
    AttentionAxes,
    Bundle,
    GoldenRecord,
    Graph,
    Parity,
    Tensor,
    TextField,
    Training,
    encode_vocabulary,
    load_bundle,
    write_bundle,
)

VOCABULARY = ["[PAD]", "[UNK]", "late", "broken", "thanks", "the", "box", "慢", "好"]
LABELS = ["complaint", "praise"]
MAX_TOKENS = 12
# Column 0 is the attention score of a token, the others are its votes for the labels.
TABLE = np.random.default_rng(7).normal(size=(len(VOCABULARY), 1 + len(LABELS))).astype(np.float32)
MASKED_SCORE = -1e9


def build_graph(table: np.ndarray = TABLE) -> bytes:
    """softmax(score[ids]) over the unpadded positions, then softmax(weights . votes[ids])."""

    def constant(name: str, value: np.ndarray) -> onnx.TensorProto:
        return numpy_helper.from_array(value, name)

    nodes = [
        helper.make_node("Gather", ["table", "token_ids"], ["rows"]),
        helper.make_node("Split", ["rows", "split"], ["scores3", "votes"], axis=2),
        helper.make_node("Squeeze", ["scores3", "last"], ["scores"]),
        helper.make_node("Equal", ["token_ids", "pad"], ["is_pad"]),
        helper.make_node("Where", ["is_pad", "masked", "scores"], ["kept"]),
        helper.make_node("Softmax", ["kept"], ["attention"], axis=1),
        helper.make_node("Unsqueeze", ["attention", "middle"], ["weights"]),
        helper.make_node("MatMul", ["weights", "votes"], ["context"]),
        helper.make_node("Squeeze", ["context", "middle"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["batch", "tokens"])],
        [
            # In this order on purpose: who fetches by position gets the wrong one.
            helper.make_tensor_value_info("attention", TensorProto.FLOAT, ["batch", "tokens"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", len(LABELS)]),
        ],
        [
            constant("table", table),
            constant("split", np.array([1, len(LABELS)], np.int64)),
            constant("last", np.array([2], np.int64)),
            constant("middle", np.array([1], np.int64)),
            constant("pad", np.array(0, np.int32)),
            constant("masked", np.array(MASKED_SCORE, np.float32)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()


class TinyModel:
    """The NumPy twin of the tiny graph: the oracle of the tests."""

    labels = LABELS
    vocabulary = VOCABULARY
    max_tokens = MAX_TOKENS
    table = TABLE
    build_graph = staticmethod(build_graph)

    def answer(self, ids: list[int]) -> tuple[np.ndarray, np.ndarray]:
        """Probabilities `[C]` and weights `[T]` of one unpadded row of ids."""
        rows = TABLE[ids].astype(np.float64)
        weights = np.exp(rows[:, 0] - rows[:, 0].max())
        weights /= weights.sum()
        logits = weights @ rows[:, 1:]
        probabilities = np.exp(logits - logits.max())
        return probabilities / probabilities.sum(), weights


def bundle_parts(**changes: Any) -> dict[str, Any]:
    """Arguments of `write_bundle` for the tiny model."""
    model, ids = TinyModel(), [5, 6, 2]
    probabilities, weights = model.answer(ids)
    golden = GoldenRecord({"text": "the box late"}, probabilities.tolist(), {"tokens": weights.tolist()})
    contents = {
        "model.onnx": build_graph(),
        "vocabulary.txt": encode_vocabulary(VOCABULARY),
        "golden.jsonl": msgspec.json.encode(golden) + b"\n",
    }
    fields = {
        "name": "tiny",
        "task": "classify",
        "fields": [TextField("text", "token_ids", "vocabulary.txt", MAX_TOKENS)],
        "graphs": [
            Graph(
                "model.onnx",
                [Tensor("token_ids", "INT32", [-1, -1])],
                [Tensor("probabilities", "FP32", [-1, len(LABELS)]), Tensor("attention", "FP32", [-1, -1])],
            )
        ],
        "attention": [AttentionAxes("tokens", "attention", "text", ["token"])],
        "labels": LABELS,
        "opset": 17,
        "parity": Parity(0.0, 1),
        "golden": "golden.jsonl",
        "histograms": {},
        "training": Training("tiny", "none", 3, 2, 1, 0.0, {}, {}),
        "privacy": "none",
    }
    return {"contents": contents, **fields, **changes}


@pytest.fixture(scope="session")
def tiny_model() -> TinyModel:
    return TinyModel()


@pytest.fixture(scope="session")
def tiny_bundle_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundles"), **bundle_parts())


@pytest.fixture(scope="session")
def tiny_bundle(tiny_bundle_path: Path) -> Bundle:
    return load_bundle(tiny_bundle_path)


@pytest.fixture
def tiny_parts() -> dict[str, Any]:
    """Fresh arguments of `write_bundle`, for a test to change."""
    return bundle_parts()


@pytest.fixture(scope="session")
def make_parts() -> Callable[[], dict[str, Any]]:
    """Builds fresh arguments of `write_bundle`, for fixtures that live longer than a test."""
    return bundle_parts
