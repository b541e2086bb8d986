"""From a trace to the two arithmetic graphs the draft author writes from.

What the backward needs of the forward is kept to three sorts: the op's inputs, its outputs, and
float32 values per row; anything else is recomputed, since a saved full-size tensor costs more
traffic than the arithmetic it spares.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

from torch import fx

from workbench import aten
from workbench.graph import Graph, Kind, Value
from workbench.lowering import Lowering
from workbench.simplify import simplify
from workbench.trace import Trace


@dataclass(frozen=True)
class Lowered:
    """Both directions. `saved` are the values per row the forward hands the backward, in order."""

    forward: Graph
    backward: Graph | None
    outputs: tuple[str, ...]
    output_ranks: tuple[int, ...]
    saved: tuple[str, ...]


def lower(trace: Trace) -> Lowered:
    """Lower both graphs of a trace.

    Raises:
        AuthorError: a node outside what tiers 1 and 2 are made of, by its name.
    """
    forward_lowering = Lowering(trace, "forward")
    placeholders = [n for n in trace.forward.nodes if n.op == "placeholder" and aten.is_tensor(n)]
    for name, node in zip(trace.tensors, placeholders, strict=True):
        forward_lowering.bind_input(node, name)
    forward_lowering.run()
    produced = _output_nodes(trace.forward)[: trace.outputs]
    names = _output_names(trace)
    forward = Graph(
        inputs=forward_lowering.inputs,
        results={name: forward_lowering.result(n) for name, n in zip(names, produced, strict=True)},
    )
    ranks = tuple(node.meta["val"].dim() for node in produced)
    if trace.backward is None:
        return Lowered(simplify(forward), None, names, ranks, ())
    backward, saved = _lower_backward(trace, forward, forward_lowering, names)
    for value in saved:
        forward.results[value.name] = value
    backward = simplify(backward)
    return Lowered(simplify(forward), backward, names, ranks, tuple(v.name for v in saved))


def _output_nodes(graph: fx.Graph) -> Sequence[fx.Node]:
    (output,) = (node for node in graph.nodes if node.op == "output")
    return cast(Sequence[fx.Node], output.args[0])


def _output_names(trace: Trace) -> tuple[str, ...]:
    base = "y" if "y" not in trace.tensors else "out"
    return (base,) if trace.outputs == 1 else tuple(f"{base}{i}" for i in range(trace.outputs))


def _lower_backward(
    trace: Trace, forward: Graph, forward_lowering: Lowering, outputs: tuple[str, ...]
) -> tuple[Graph, list[Value]]:
    assert trace.backward is not None
    lowering = Lowering(trace, "backward")
    recompute = _Recompute(forward)
    by_name = {node.name: node for node in trace.forward.nodes}
    for node in trace.backward.nodes:
        if node.op != "placeholder" or not aten.is_tensor(node):
            continue
        if node.name.startswith("tangents"):
            output = outputs[int(node.name.removeprefix("tangents_")) - 1]
            lowering.bind_input(node, f"d{output}")
        else:
            lowering.values[node] = recompute(forward_lowering.values[by_name[node.name]])
    lowering.run()
    grads = zip(trace.tensors, _output_nodes(trace.backward), strict=True)
    results = {f"d{name}": lowering.result(node) for name, node in grads if node is not None}
    return Graph(inputs=[*lowering.inputs, *recompute.inputs], results=results), recompute.saved


class _Recompute:
    """Rebuild a forward value for the backward out of inputs, outputs and values saved per row."""

    def __init__(self, forward: Graph) -> None:
        self.outputs = {
            id(v): name for name, v in forward.results.items() if v.kind is Kind.ELEMENT
        }
        self.inputs: list[Value] = []
        self.saved: list[Value] = []
        self._made: dict[int, Value] = {}

    def __call__(self, value: Value) -> Value:
        if id(value) not in self._made:
            self._made[id(value)] = self._make(value)
        return self._made[id(value)]

    def _make(self, value: Value) -> Value:
        if value.op == "constant":
            return value
        if value.op == "input":
            return self._input(value.name, value)
        if id(value) in self.outputs:
            return self._input(self.outputs[id(value)], value)
        if value.kind is Kind.ROW and value.dtype == "float":
            value.name = value.name or _row_name(value, {v.name for v in self.saved})
            self.saved.append(value)
            return self._input(value.name, value)
        args = tuple(self(arg) for arg in value.args)
        return Value(value.op, value.kind, args, value.dtype, value.expression, value.source)

    def _input(self, name: str, like: Value) -> Value:
        made = Value("input", like.kind, dtype=like.dtype, name=name, source=like.source)
        self.inputs.append(made)
        return made


def _row_name(value: Value, taken: set[str]) -> str:
    """A telling name for a value kept per row."""
    value = simplify(Graph([], {"value": value})).results["value"]
    inner = value.args[0].op if value.args else ""
    base = {"rsqrt": "rstd", "log": "log_sum", "sqrt": "norm" if inner == "row_sum" else "std"}.get(
        value.op, "stat"
    )
    if value.op.startswith("row_"):
        base = value.op
    elif value.op == "div" and inner == "row_sum":
        base = "mean"
    return next(
        name for i in range(1, 100) if (name := base if i == 1 else f"{base}{i}") not in taken
    )
