"""One graph, one sequence of bytes, whatever tf2onnx called its nodes.

tf2onnx numbers nodes with a process-wide counter and walks sets, so two conversions of one model differ in names and
order. A bundle's version is a digest: the same SavedModel must give the same bytes. Here every tensor is named after
what it computes (operator, attributes and the names of its inputs, hashed), and nodes are sorted by depth, then name.
Two nodes that compute the same become one. That would be wrong for random operators; `export.convert` refuses those.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from onnx import AttributeProto, GraphProto, ModelProto, NodeProto

DIGEST_CHARACTERS = 16
"""64 bits: a graph would need some 10^8 nodes before two names could be expected to collide."""


def canonicalize(model: Any) -> Any:
    """Returns a ModelProto that computes the same under canonical names; inputs and outputs keep theirs.

    Args:
        model: a ModelProto with nodes in topological order.
    """
    used = {node.domain for node in walk_nodes(model.graph)}
    result = ModelProto(
        ir_version=model.ir_version,
        producer_name=model.producer_name,
        producer_version=model.producer_version,
        opset_import=sorted((o for o in model.opset_import if o.domain in used), key=lambda opset: opset.domain),
    )
    result.graph.CopyFrom(_Canonicalizer(outer={}, prefix="").rewrite(model.graph))
    return result


class _Canonicalizer:
    """Rewrites one graph: the main one, or the body of a Loop, Scan or If."""

    def __init__(self, *, outer: Mapping[str, str], prefix: str) -> None:
        """
        Args:
            outer: old -> new name of everything that the enclosing graphs have computed so far.
            prefix: keeps a body's names apart from those around it; empty for the main graph.
        """
        self._prefix = prefix
        self._names = {"": "", **outer}
        self._depths: dict[str, int] = {}
        self._nodes: dict[str, Any] = {}
        self._initializers: dict[str, Any] = {}

    def rewrite(self, source: Any) -> Any:
        """Returns the canonical GraphProto of `source`."""
        for index, value in enumerate(source.input):
            self._names[value.name] = self._border_name(value, f"in_{index}")
        for tensor in source.initializer:
            self._add_initializer(tensor)
        for node in source.node:
            if node.op_type == "Identity":
                self._names[node.output[0]] = self._names[node.input[0]]
            else:
                self._add_node(node)
        # Each output is an Identity of its own: two of a body's outputs may be one tensor, and tf2onnx makes now the
        # one and now the other a copy. ONNX Runtime removes most of these nodes; the rest cost a microsecond a batch.
        outputs = [self._border_name(value, f"out_{index}") for index, value in enumerate(source.output)]
        for name, value in zip(outputs, source.output, strict=True):
            self._keep(NodeProto(op_type="Identity", name=name, input=[self._names[value.name]], output=[name]))
        ordered = sorted(self._nodes.values(), key=lambda node: (self._depths[node.name], node.name))
        return GraphProto(
            name=f"{self._prefix}graph",
            node=ordered,
            initializer=[self._initializers[name] for name in sorted(self._initializers)],
            input=[self._renamed(value, self._names[value.name]) for value in source.input],
            output=[self._renamed(value, name) for value, name in zip(source.output, outputs, strict=True)],
        )

    def _add_initializer(self, tensor: Any) -> None:
        copy = _copy(tensor)
        copy.ClearField("doc_string")
        copy.ClearField("name")
        copy.name = f"{self._prefix}const_{_digest(copy)}"
        self._names[tensor.name] = copy.name
        self._initializers[copy.name] = copy

    def _add_node(self, node: Any) -> None:
        copy = NodeProto(op_type=node.op_type, domain=node.domain, input=[self._names[name] for name in node.input])
        attributes = sorted(node.attribute, key=lambda attribute: str(attribute.name))
        copy.attribute.extend(a for a in attributes if a.type != AttributeProto.GRAPH)
        # An optional output that nobody asked for has no name.
        copy.output.extend("wanted" if name else "" for name in node.output)
        prefix = f"{self._prefix}{node.op_type}_{_digest(copy)}/"
        copy.attribute.extend(self._body(a, prefix) for a in attributes if a.type == AttributeProto.GRAPH)
        copy.name = f"{self._prefix}{node.op_type}_{_digest(copy)}"
        for index, name in enumerate(node.output):
            if name:
                copy.output[index] = self._names[name] = f"{copy.name}:{index}"
        self._keep(copy)

    def _keep(self, node: Any) -> None:
        read = [*node.input, *(name for attribute in node.attribute for name in _read_names(attribute.g))]
        depth = 1 + max((self._depths.get(name, 0) for name in read), default=0)
        self._depths |= dict.fromkeys((node.name, *node.output), depth)
        self._nodes[node.name] = node

    def _body(self, attribute: Any, prefix: str) -> Any:
        copy = _copy(attribute)
        body = _Canonicalizer(outer=self._names, prefix=f"{prefix}{attribute.name}/")
        copy.g.CopyFrom(body.rewrite(attribute.g))
        return copy

    def _border_name(self, value: Any, position: str) -> str:
        """The world knows the main graph's inputs and outputs by name, a body's by position."""
        return f"{self._prefix}{position}" if self._prefix else str(value.name)

    def _renamed(self, value: Any, name: str) -> Any:
        copy = _copy(value)
        copy.name = name
        if self._prefix:
            for dimension in copy.type.tensor_type.shape.dim:
                # tf2onnx numbers unknown dimensions with its counter, too.
                dimension.ClearField("dim_param")
        return copy


def walk_nodes(graph: Any) -> Iterator[Any]:
    """All nodes of a GraphProto, those of bodies included."""
    for node in graph.node:
        yield node
        for attribute in node.attribute:
            yield from walk_nodes(attribute.g)


def _read_names(graph: Any) -> Iterator[str]:
    """Names that a body reads, its own and those of the graphs around it."""
    yield from (name for node in walk_nodes(graph) for name in node.input)
    yield from (value.name for value in graph.output)


def _copy(message: Any) -> Any:
    copy = type(message)()
    copy.CopyFrom(message)
    return copy


def _digest(message: Any) -> str:
    return hashlib.sha256(message.SerializeToString(deterministic=True)).hexdigest()[:DIGEST_CHARACTERS]
