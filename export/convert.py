"""From a signature to an ONNX graph that is exact under padding, fast where it can be, and the same on every run."""

import logging
from typing import Any, NamedTuple

import onnx
import tensorflow as tf
import tf2onnx

from export.canonical import canonicalize, walk_nodes
from export.errors import ConversionError
from export.saved_model import MASKED, PROBABILITIES, UNPADDED, SavedModel
from export.sequence_lens import add_sequence_lens
from worker.bundle import Graph, Tensor

OPSET = 17
GRAPH_FILE = "model.onnx"
BATCH, TOKENS = "batch", "tokens"

TRAINING_OPERATORS = frozenset(
    {"Bernoulli", "Dropout", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike"}
)
"""Each would make an answer random: the signature was traced with ``training=True``."""

# It logs what it cannot convert and goes on; the ONNX checker below finds the same, and one message is enough.
logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)

_DATATYPES = {onnx.TensorProto.INT32: "INT32", onnx.TensorProto.FLOAT: "FP32"}
"""ONNX -> the Open Inference Protocol's names; a signature has no others, see `export.saved_model`."""


class Converted(NamedTuple):
    """An ONNX graph, and where it came from."""

    onnx: bytes
    graph: Graph
    signature: str
    fused: int
    """LSTM and GRU nodes that read ``sequence_lens``."""
    loops: int
    """Recurrences that ONNX Runtime steps through one token at a time: exact, but slow for small batches."""


def convert(model: SavedModel) -> Converted:
    """Converts ``unpadded`` where that gives fused nodes, ``serving_default`` otherwise.

    Raises:
        ConversionError: the model has an operator without ONNX equivalent, or was traced for training.
    """
    if UNPADDED in model.signatures:
        proto = convert_signature(model, UNPADDED)
        fused = add_sequence_lens(proto, token_ids=model.input)
        if fused:
            return finish(model, proto, signature=UNPADDED, fused=fused)
    return finish(model, convert_signature(model, MASKED), signature=MASKED, fused=0)


def convert_signature(model: SavedModel, name: str) -> Any:
    """Runs tf2onnx on one signature.

    Returns:
        A ModelProto. Its inputs and outputs have the signature's names; everything else may differ between runs.
    """
    function = model.signatures[name]
    spec = tf.TensorSpec([None, None], tf.int32, name=model.input)

    def serve(token_ids: Any) -> dict[str, Any]:
        outputs = function(**{model.input: token_ids})
        return {output: outputs[output] for output in model.outputs}

    try:
        # tf2onnx takes only tf.functions; it names the outputs after the keys of the dict.
        proto, _ = tf2onnx.convert.from_function(
            tf.function(serve, input_signature=[spec]), input_signature=[spec], opset=OPSET
        )
    except Exception as error:
        # tf2onnx has no exception type of its own.
        raise ConversionError(f"tf2onnx cannot convert signature {name!r}: {error}") from error
    return proto


def finish(model: SavedModel, proto: Any, *, signature: str, fused: int) -> Converted:
    """Names the dimensions, checks the graph and fixes its bytes."""
    _name_dimensions(model, proto)
    proto = canonicalize(proto)
    operators = [node.op_type for node in walk_nodes(proto.graph)]
    if random := sorted(TRAINING_OPERATORS.intersection(operators)):
        raise ConversionError(
            f"signature {signature!r} was traced for training: its graph holds {', '.join(random)}. "
            "Save the model with training=False."
        )
    try:
        onnx.checker.check_model(proto, full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise ConversionError(f"signature {signature!r} gives no valid ONNX graph: {error}") from error
    graph = Graph(
        file=GRAPH_FILE,
        inputs=[_describe(value) for value in proto.graph.input],
        outputs=[_describe(value) for value in proto.graph.output],
    )
    return Converted(
        onnx=proto.SerializeToString(deterministic=True),
        graph=graph,
        signature=signature,
        fused=fused,
        loops=sum(operator in ("Loop", "Scan") for operator in operators),
    )


def _name_dimensions(model: SavedModel, proto: Any) -> None:
    """tf2onnx loses the names, and says nothing at all about some outputs' shapes."""
    expected = {model.input, *model.outputs}
    found = [value.name for value in (*proto.graph.input, *proto.graph.output)]
    if set(found) != expected:
        raise ConversionError(f"the graph has the tensors {', '.join(found)}, not {', '.join(sorted(expected))}.")
    for value in (*proto.graph.input, *proto.graph.output):
        sizes = (BATCH, model.classes) if value.name == PROBABILITIES else (BATCH, TOKENS)
        shape = value.type.tensor_type.shape
        shape.ClearField("dim")
        for size in sizes:
            shape.dim.add(**{"dim_param" if isinstance(size, str) else "dim_value": size})


def _describe(value: Any) -> Tensor:
    tensor = value.type.tensor_type
    shape = [-1 if dimension.dim_param else dimension.dim_value for dimension in tensor.shape.dim]
    return Tensor(name=value.name, datatype=_DATATYPES[tensor.elem_type], shape=shape)
