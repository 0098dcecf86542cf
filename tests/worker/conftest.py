"""A tiny real bundle, built without TensorFlow: its ONNX graph is small enough to be repeated in NumPy."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from harness import classifier
from harness.classifier import LABELS
from onnx import helper

from worker.bundle import Bundle, GoldenRecord, load_bundle, write_bundle

VOCABULARY = ["[PAD]", "[UNK]", *classifier.WORDS, "慢", "好"]
MAX_TOKENS = 12
# Column 0 is the attention score of a token, the others are its votes for the labels.
TABLE = np.random.default_rng(7).normal(size=(len(VOCABULARY), 1 + len(LABELS))).astype(np.float32)
MASKED_SCORE = -1e9


def build_model(table: np.ndarray = TABLE) -> onnx.ModelProto:
    """softmax(score[ids]) over the unpadded positions, then softmax(weights . votes[ids])."""
    constants = {
        "table": table,
        "split": np.array([1, len(LABELS)], np.int64),
        "last": np.array([2], np.int64),
        "middle": np.array([1], np.int64),
        "pad": np.array(0, np.int32),
        "masked": np.array(MASKED_SCORE, np.float32),
    }
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
    return classifier.build_model("tiny", nodes, constants)


class TinyModel:
    """The NumPy twin of the tiny graph: the oracle of the tests."""

    labels = LABELS
    vocabulary = VOCABULARY
    max_tokens = MAX_TOKENS
    table = TABLE
    build_model = staticmethod(build_model)

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
    parts = classifier.bundle_parts("tiny", build_model(), VOCABULARY, golden, max_tokens=MAX_TOKENS, rounds=3)
    return {**parts, **changes}


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
