import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.answers.golden import check_golden_records
from worker.bundle import Bundle, Graph, Tensor, load_bundle, write_bundle
from worker.errors import BundleError, BundleTensorError, ScoringError
from worker.features import pad
from worker.scorer import OnnxScorer

pytestmark = pytest.mark.fast

rows = st.lists(st.lists(st.integers(1, 8), min_size=1, max_size=12), min_size=1, max_size=6)


@given(rows)
def test_answers_equal_the_numpy_twin(tiny_bundle: Bundle, tiny_model: Any, ids: list[list[int]]) -> None:
    scores = OnnxScorer(tiny_bundle).score(pad(ids))

    for index, row in enumerate(ids):
        probabilities, weights = tiny_model.answer(row)
        np.testing.assert_allclose(scores.probabilities[index], probabilities, atol=1e-6)
        np.testing.assert_allclose(scores.attention["tokens"][index, : len(row)], weights, atol=1e-6)
        assert (scores.attention["tokens"][index, len(row) :] == 0).all()


def test_a_model_that_fails_is_not_the_records_fault(tiny_bundle: Bundle) -> None:
    with pytest.raises(ScoringError, match=r"shape \(1, 1\)"):
        OnnxScorer(tiny_bundle).score(np.array([[999]], np.int32))


def test_a_number_that_is_not_finite_is_refused(tiny_parts: dict[str, Any], tiny_model: Any, tmp_path: Path) -> None:
    table = tiny_model.table.copy()
    table[2, 1] = np.nan
    tiny_parts["contents"]["model.onnx"] = tiny_model.build_model(table).SerializeToString()
    scorer = OnnxScorer(load_bundle(write_bundle(tmp_path, **tiny_parts)))

    assert np.isfinite(scorer.score(np.array([[3]], np.int32)).probabilities).all()
    with pytest.raises(ScoringError, match="not finite"):
        scorer.score(np.array([[2]], np.int32))


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("token_ids", "INT64", [-1, -1]),
        Tensor("ids", "INT32", [-1, -1]),
        Tensor("token_ids", "INT32", [-1, 12]),
    ],
)
def test_a_tensor_that_differs_from_the_manifest_is_refused(
    tiny_parts: dict[str, Any], tmp_path: Path, tensor: Tensor
) -> None:
    graph: Graph = tiny_parts["graphs"][0]
    tiny_parts["graphs"] = [msgspec.structs.replace(graph, inputs=[tensor])]
    bundle = load_bundle(write_bundle(tmp_path, **tiny_parts))

    with pytest.raises(BundleTensorError, match=f"{tensor.name} {tensor.datatype}"):
        OnnxScorer(bundle)


def test_bytes_that_are_no_model_are_refused(tiny_parts: dict[str, Any], tmp_path: Path) -> None:
    tiny_parts["contents"]["model.onnx"] = b"not a graph"
    bundle = load_bundle(write_bundle(tmp_path, **tiny_parts))

    with pytest.raises(BundleError, match=r"model\.onnx"):
        OnnxScorer(bundle)


def test_golden_records_that_hold_pass(tiny_bundle: Bundle) -> None:
    check_golden_records(tiny_bundle, OnnxScorer(tiny_bundle))


def test_a_model_that_answers_differently_than_at_export_is_refused(tiny_parts: dict[str, Any], tmp_path: Path) -> None:
    golden = msgspec.json.decode(tiny_parts["contents"]["golden.jsonl"])
    golden["attention"]["tokens"][0] += 0.01
    tiny_parts["contents"]["golden.jsonl"] = msgspec.json.encode(golden) + b"\n"
    bundle = load_bundle(write_bundle(tmp_path, **tiny_parts))

    with pytest.raises(BundleError, match="golden record 0"):
        check_golden_records(bundle, OnnxScorer(bundle))


def test_onnx_runtime_leaves_nothing_at_home(tmp_path: Path) -> None:
    withheld = ("XDG_CACHE_HOME", "ORT_DISABLE_TELEMETRY")
    inherited = {name: value for name, value in os.environ.items() if name not in withheld}
    command = [sys.executable, "-c", "import worker.scorer"]
    done = subprocess.run(
        command, env={**inherited, "HOME": str(tmp_path)}, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout + done.stderr == ""
    assert list(tmp_path.rglob("*")) == []
