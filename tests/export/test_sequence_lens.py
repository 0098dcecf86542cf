"""A fused node that knows its rows' lengths reads a padded row as if it were alone."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, checker, helper, numpy_helper

from export.sequence_lens import add_sequence_lens
from worker.features import pad
from worker.scorer import build_session

pytestmark = pytest.mark.fast

VOCABULARY, HIDDEN = 9, 4
GATES = {"LSTM": 4, "GRU": 3}


def build_model(operator: str, *, layers: int = 1):
    """Embedding and stacked bidirectional nodes: token_ids `[B, T]` -> states `[T, 2, B, H]`."""
    generator = np.random.default_rng(0)

    def constant(name, *shape):
        return numpy_helper.from_array(generator.normal(size=shape).astype(np.float32), name)

    size, gates = 2 * HIDDEN, GATES[operator]
    initializers = [constant("embedding", VOCABULARY, size), numpy_helper.from_array(np.array([0, 0, -1]), "merge")]
    nodes = [
        helper.make_node("Gather", ["embedding", "token_ids"], ["embedded"]),
        helper.make_node("Transpose", ["embedded"], ["read_0"], perm=[1, 0, 2]),
    ]
    for layer in range(layers):
        names = [f"{name}_{layer}" for name in ("kernel", "recurrent", "bias")]
        shapes = [(2, gates * HIDDEN, size), (2, gates * HIDDEN, HIDDEN), (2, 2 * gates * HIDDEN)]
        initializers += [constant(name, *shape) for name, shape in zip(names, shapes, strict=True)]
        states = "states" if layer == layers - 1 else f"states_{layer}"
        nodes += [
            helper.make_node(
                operator, [f"read_{layer}", *names], [states], hidden_size=HIDDEN, direction="bidirectional"
            ),
            helper.make_node("Transpose", [states], [f"swapped_{layer}"], perm=[0, 2, 1, 3]),
            helper.make_node("Reshape", [f"swapped_{layer}", "merge"], [f"read_{layer + 1}"]),
        ]
    graph = helper.make_graph(
        nodes,
        "recurrent",
        [helper.make_tensor_value_info("token_ids", TensorProto.INT32, ["batch", "tokens"])],
        [helper.make_tensor_value_info("states", TensorProto.FLOAT, ["tokens", 2, "batch", HIDDEN])],
        initializers,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def build_run(model):
    session = build_session(model.SerializeToString(), threads=1)
    return lambda token_ids: session.run(["states"], {"token_ids": token_ids})[0]


@pytest.fixture(scope="module", params=["LSTM", "GRU"])
def run(request):
    model = build_model(request.param)
    assert add_sequence_lens(model, token_ids="token_ids") == 1
    checker.check_model(model, full_check=True)
    return build_run(model)


rows = st.lists(st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=12), min_size=1, max_size=6)


@settings(deadline=None)
@given(rows=rows)
def test_padded_row_equals_the_row_alone_bit_for_bit(run, rows):
    states = run(pad(rows))
    for index, row in enumerate(rows):
        alone = run(np.array([row], np.int32))
        np.testing.assert_array_equal(states[: len(row), :, index], alone[:, :, 0])


@settings(deadline=None)
@given(rows=rows)
def test_states_on_padding_are_zero(run, rows):
    states = run(pad(rows))
    for index, row in enumerate(rows):
        assert not states[len(row) :, :, index].any()


@pytest.mark.parametrize("operator", ["LSTM", "GRU"])
def test_without_lengths_the_backward_direction_reads_padding(operator):
    run = build_run(build_model(operator))
    padded, alone = run(np.array([[3, 4, 0, 0]], np.int32)), run(np.array([[3, 4]], np.int32))
    assert np.abs(padded[:2] - alone).max() > 1e-3


def test_every_layer_gets_the_lengths():
    model = build_model("LSTM", layers=2)
    assert add_sequence_lens(model, token_ids="token_ids") == 2
    run = build_run(model)
    padded, alone = run(np.array([[3, 4, 0, 0]], np.int32)), run(np.array([[3, 4]], np.int32))
    np.testing.assert_array_equal(padded[:2], alone)


def test_graph_without_recurrent_node_stays_as_it_is():
    graph = helper.make_graph([helper.make_node("Identity", ["token_ids"], ["same"])], "plain", [], [])
    model = helper.make_model(graph)
    before = model.SerializeToString()
    assert add_sequence_lens(model, token_ids="token_ids") == 0
    assert model.SerializeToString() == before
