"""Padding for ONNX's recurrent nodes.

tf2onnx turns an *unmasked* Keras LSTM or GRU into one fused ONNX node, which is 10-50 times faster than the Loop that
a masked one becomes, but reads padding as if it were words. ONNX has an input for that: ``sequence_lens``, int32
`[B]`, where the backward direction of a bidirectional node starts and where outputs become 0. This module computes it
inside the graph, so that the graph keeps its one input.
"""

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from worker.features import PAD_ID

FUSED = ("LSTM", "GRU")
SEQUENCE_LENS_INPUT = 4
"""Position of ``sequence_lens`` among the inputs of ONNX's LSTM, GRU and RNN."""

_PREFIX = "sequence_lens/"


def add_sequence_lens(model: Any, *, token_ids: str) -> int:
    """Gives every fused recurrent node the lengths of its rows.

    Args:
        model: a ModelProto; it is changed in place.
        token_ids: name of the graph input, int32 `[B, T]`, padded on the right.

    Returns:
        How many nodes now respect padding. 0: the graph has no fused recurrent node and was not changed.
    """
    fused = [node for node in model.graph.node if node.op_type in FUSED]
    for node in fused:
        missing = SEQUENCE_LENS_INPUT + 1 - len(node.input)
        node.input.extend([""] * missing)
        node.input[SEQUENCE_LENS_INPUT] = f"{_PREFIX}lengths"
    if fused:
        _prepend_lengths(model.graph, token_ids)
    return len(fused)


def _prepend_lengths(graph: Any, token_ids: str) -> None:
    """``lengths[b] = sum over t of (token_ids[b, t] != PAD_ID)``."""
    pad_id = numpy_helper.from_array(np.array(PAD_ID, np.int32), f"{_PREFIX}pad_id")
    axis = numpy_helper.from_array(np.array([1], np.int64), f"{_PREFIX}axis")
    graph.initializer.extend([pad_id, axis])
    nodes = [
        helper.make_node("Equal", [token_ids, pad_id.name], [f"{_PREFIX}is_pad"]),
        helper.make_node("Not", [f"{_PREFIX}is_pad"], [f"{_PREFIX}is_kept"]),
        helper.make_node("Cast", [f"{_PREFIX}is_kept"], [f"{_PREFIX}kept"], to=TensorProto.INT32),
        helper.make_node("ReduceSum", [f"{_PREFIX}kept", axis.name], [f"{_PREFIX}lengths"], keepdims=0),
    ]
    # ONNX wants nodes in topological order, and these depend on the input alone.
    for position, node in enumerate(nodes):
        graph.node.insert(position, node)
