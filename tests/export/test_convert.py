"""What becomes of each kind of encoder, and the shape of the graphs."""

from collections import Counter

import onnx
import pytest

from worker.bundle import Graph, Tensor

pytestmark = pytest.mark.export

FUSED = [("lstm", False), ("lstm", True), ("gru", False), ("gru", True)]


def operators(graph) -> Counter[str]:
    bodies = (operators(attribute.g) for node in graph.node for attribute in node.attribute)
    return sum(bodies, Counter(node.op_type for node in graph.node))


@pytest.mark.parametrize(("cell", "bidirectional"), FUSED)
def test_recurrent_layers_become_one_node_that_knows_its_lengths(converted, cell, bidirectional):
    result = converted(cell, bidirectional=bidirectional)
    graph = onnx.load_from_string(result.onnx).graph
    assert (result.signature, result.fused, result.loops) == ("unpadded", 1, 0)
    found = operators(graph)
    assert found[cell.upper()] == 1
    assert not {"Loop", "Scan", "If"} & found.keys()
    (recurrent,) = (node for node in graph.node if node.op_type == cell.upper())
    lengths = next(node for node in graph.node if recurrent.input[4] in node.output)
    assert lengths.op_type == "ReduceSum"


@pytest.mark.parametrize("leave_out", ["unpadded", None])
def test_encoder_without_a_fused_node_is_converted_with_its_mask(converted, leave_out):
    """Without `unpadded` even an LSTM is; a SimpleRNN always is, because ONNX's RNN is unknown to tf2onnx."""
    result = converted("lstm", leave_out=leave_out) if leave_out else converted("simple_rnn", attention=False)
    assert (result.signature, result.fused, result.loops) == ("serving_default", 0, 1)


@pytest.mark.parametrize(("cell", "attention"), [("gru", True), ("simple_rnn", False)])
def test_tensors_have_the_names_types_and_shapes_of_the_contract(converted, cell, attention):
    result = converted(cell, attention=attention)
    outputs = {t.name: t for t in result.graph.outputs}
    expected = {"probabilities": Tensor("probabilities", "FP32", [-1, 3])}
    if attention:
        expected["attention"] = Tensor("attention", "FP32", [-1, -1])
    assert outputs == expected
    assert result.graph == Graph("model.onnx", [Tensor("token_ids", "INT32", [-1, -1])], list(result.graph.outputs))


def test_dimensions_are_named(converted):
    graph = onnx.load_from_string(converted("gru").onnx).graph
    names = {
        value.name: [dimension.dim_param or dimension.dim_value for dimension in value.type.tensor_type.shape.dim]
        for value in (*graph.input, *graph.output)
    }
    assert names == {
        "token_ids": ["batch", "tokens"],
        "probabilities": ["batch", 3],
        "attention": ["batch", "tokens"],
    }


def test_graph_holds_nothing_but_the_model(converted):
    model = onnx.load_from_string(converted("lstm", bidirectional=True).onnx)
    assert [(opset.domain, opset.version) for opset in model.opset_import] == [("", 17)]
    assert not {"Dropout", "RandomUniform", "RandomUniformLike", "Print"} & operators(model.graph).keys()
    produced = {name for node in model.graph.node for name in node.output}
    used = {name for node in model.graph.node for name in node.input} | {v.name for v in model.graph.output}
    assert {tensor.name for tensor in model.graph.initializer} <= used
    assert all(used & set(node.output) for node in model.graph.node)
    assert len(produced) == sum(len(node.output) for node in model.graph.node)


@pytest.mark.parametrize(("cell", "attention"), [("lstm", True), ("simple_rnn", False)])
def test_second_conversion_gives_the_same_bytes(load, converted, cell, attention):
    """tf2onnx's counter has moved on; names and order that depended on it would differ."""
    from export.convert import convert

    assert convert(load(cell, attention=attention).model).onnx == converted(cell, attention=attention).onnx
