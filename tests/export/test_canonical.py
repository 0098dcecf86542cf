"""However a converter names, orders and repeats nodes, the bytes are the same, and so are the answers."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, checker, helper, numpy_helper

from export.canonical import canonicalize
from worker.scorer import build_session

pytestmark = pytest.mark.fast

value = helper.make_tensor_value_info
node = helper.make_node


def build_model(seed: int, *, factor: float = 3.0):
    """One computation as a converter with a counter and sets might write it; `seed` decides the accidents.

    ``sum = x * factor + (-x)``; from ``state = x``, four times ``state = state + state + sum``. The Loop's body reads
    ``sum`` from the main graph.
    """
    chance = random.Random(seed)
    names: dict[str, str] = {"x": "x", "total": "total", "history": "history"}

    def n(label: str) -> str:
        return names.setdefault(label, f"{label}__{chance.randrange(10**9)}")

    first = [
        node("Mul", ["x", n("factor")], [n("product")], name=n("node")),
        node("Neg", ["x"], [n("minus")], name=n("node_2")),
        # The same once more.
        node("Mul", ["x", n("factor")], [n("product_again")]),
    ]
    chance.shuffle(first)
    product = n(chance.choice(["product", "product_again"]))
    # With these attributes it returns its input.
    shrink = node("Shrink", [n("minus")], [n("negative")], bias=0.0, lambd=0.0)
    shrink.attribute.sort(key=lambda attribute: chance.random())
    rest = [
        shrink,
        node("Add", [product, n("negative")], [n("sum")]),
        node("Identity", [n("sum")], [n("same")]),
        node("Loop", [n("count"), "", "x"], ["total", "history"], body=_body(chance, n)),
    ]
    constants = [
        numpy_helper.from_array(np.array([factor], np.float32), n("factor")),
        numpy_helper.from_array(np.array(4, np.int64), n("count")),
    ]
    constants[0].doc_string = n("origin")
    chance.shuffle(constants)
    outputs = [value("total", TensorProto.FLOAT, ["n"]), value("history", TensorProto.FLOAT, [4, "n"])]
    graph = helper.make_graph(
        [*first, *rest], n("graph"), [value("x", TensorProto.FLOAT, ["n"])], outputs, constants, doc_string=n("doc")
    )
    opsets = [helper.make_opsetid("ai.onnx.ml", 2), helper.make_opsetid("", 17)]
    chance.shuffle(opsets)
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def _body(chance, n):
    # Two outputs are one tensor, and a converter makes now the one and now the other a copy.
    original, copy = chance.sample([n("next"), n("seen")], 2)
    nodes = [
        node("Add", [n("state"), n("state")], [n("doubled")]),
        node("Add", [n("doubled"), n(chance.choice(["sum", "same"]))], [original]),
        node("Identity", [original], [copy]),
        node("Identity", [n("go_on")], [n("still")]),
    ]
    size = f"unk__{chance.randrange(10**9)}"
    inputs = [
        value(n("step"), TensorProto.INT64, []),
        value(n("go_on"), TensorProto.BOOL, []),
        value(n("state"), TensorProto.FLOAT, [size]),
    ]
    outputs = [
        value(n("still"), TensorProto.BOOL, []),
        value(n("next"), TensorProto.FLOAT, [size]),
        value(n("seen"), TensorProto.FLOAT, [size]),
    ]
    return helper.make_graph(nodes, n("body"), inputs, outputs)


def run(model, x):
    session = build_session(model.SerializeToString(), threads=1)
    return session.run(["total", "history"], {"x": np.array(x, np.float32)})


def to_bytes(model):
    return canonicalize(model).SerializeToString(deterministic=True)


@given(seed=st.integers(0, 10**6), other=st.integers(0, 10**6))
def test_accidents_of_conversion_leave_no_trace(seed, other):
    assert to_bytes(build_model(seed)) == to_bytes(build_model(other))


@given(seed=st.integers(0, 10**6))
def test_canonical_graph_is_canonical_already(seed):
    once = canonicalize(build_model(seed))
    again = canonicalize(once)
    assert len(again.graph.node) == len(once.graph.node)


def test_answers_are_kept():
    model = build_model(1)
    canonical = canonicalize(model)
    checker.check_model(canonical, full_check=True)
    for expected, found in zip(run(model, [1, -2]), run(canonical, [1, -2]), strict=True):
        np.testing.assert_array_equal(found, expected)
    # By hand: sum = 2 x; 16 x + (1 + 2 + 4 + 8) 2 x = 46 x.
    np.testing.assert_array_equal(run(canonical, [1, -2])[0], [46, -92])


def test_another_computation_has_other_bytes():
    assert to_bytes(build_model(1)) != to_bytes(build_model(1, factor=3.5))


def test_equal_nodes_become_one_and_unused_domains_go():
    canonical = canonicalize(build_model(1))
    operators = [n.op_type for n in canonical.graph.node]
    assert sorted(operators) == ["Add", "Identity", "Identity", "Loop", "Mul", "Neg", "Shrink"]
    assert [(o.domain, o.version) for o in canonical.opset_import] == [("", 17)]
