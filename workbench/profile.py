"""Profiles: what is known of an op before any kernel exists, read off its traced forward and
backward graphs.
"""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict
from torch import fx

from workbench import aten, tiers
from workbench.errors import AuthorError, TierError
from workbench.graph import Graph, Kind, Value, public
from workbench.lower import Lowered, lower
from workbench.lowering import Lowering
from workbench.reference import Reference
from workbench.trace import Trace, trace

# Steps that lose too much in 16 bits: long sums, and functions that amplify a relative error.
PRECISE = frozenset(
    {
        "row_sum",
        "batch_sum",
        "exp",
        "expm1",
        "log",
        "log1p",
        "rsqrt",
        "sqrt",
        "pow",
        "div",
        "sigmoid",
    }
)


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class TensorInfo(_Frozen):
    """A tensor argument: how it spreads over (rows, cols), and whether it has a gradient.

    `kind` is element, row, column or scalar; other for a tensor that is none of these.
    """

    name: str
    kind: str
    dtype: str
    differentiable: bool


class TrafficModel(_Frozen):
    """Full-size tensors read and written: the floor of a direction, per element."""

    reads: int
    writes: int


class Profile(_Frozen):
    """What an op is. `tier` is the one it's built as, `traced_tier` the one its graphs have."""

    op: str
    origin: str
    formula: str
    tier: int
    traced_tier: int
    reasons: tuple[str, ...]
    inputs: tuple[TensorInfo, ...]
    parameters: dict[str, float]
    outputs: tuple[str, ...]
    saved: tuple[str, ...]
    recomputed: tuple[str, ...]
    float32_steps: tuple[str, ...]
    forward_ops: int
    backward_ops: int
    forward: TrafficModel | None
    backward: TrafficModel | None

    def as_tier(self, number: int | None, *, force: bool = False) -> Profile:
        """This profile for the tier asked for.

        Raises:
            TierError: the graphs say another tier, and it isn't forced.
        """
        if number is None or number == self.tier:
            return self
        tiers.tier(number)
        if not force:
            listed = "; ".join(self.reasons)
            raise TierError(
                f"{self.op} is tier {self.tier}, not tier {number}: {listed}",
                hint=f"leave --tier out, ask for --tier {self.tier}, or insist with --force-tier",
            )
        return self.model_copy(update={"tier": number})


def analyze(reference: Reference, op: str) -> Profile:
    """Trace a reference and write its profile.

    Raises:
        BadReference: it can't be traced.
    """
    traced = trace(reference)
    number, reasons = classify(traced)
    lowered = _lowered(traced)
    inputs = tuple(_tensor_infos(traced))
    return Profile(
        op=op,
        origin=reference.origin,
        formula=reference.formula,
        tier=number,
        traced_tier=number,
        reasons=tuple(reasons),
        inputs=inputs,
        parameters=dict(reference.parameters),
        outputs=tuple(_output_kinds(traced)),
        saved=_saved(lowered),
        recomputed=_recomputed(lowered),
        float32_steps=_float32_steps(lowered),
        forward_ops=_count(traced.forward),
        backward_ops=_count(traced.backward) if traced.backward is not None else 0,
        forward=_traffic(lowered.forward) if lowered else None,
        backward=_traffic(lowered.backward) if lowered and lowered.backward else None,
    )


def _lowered(traced: Trace) -> Lowered | None:
    """The arithmetic graphs, or None where the op has nodes outside tiers 1 and 2."""
    try:
        return lower(traced)
    except AuthorError:
        return None


def classify(traced: Trace) -> tuple[int, list[str]]:
    """The tier of two traced graphs, and the nodes that decided it, one sentence each.

    The tier is the lowest that admits every node's category; what decides is what no lower tier
    admits.
    """
    found = [
        (category, f"{side} node {aten.describe(node)}")
        for side, node, category in _categories(traced)
    ]
    known = tiers.tiers()
    tier = next((t for t in known if all(c in t.admits for c, _ in found)), known[-1])
    lower_tiers = [t for t in known if t.number < tier.number]
    below = lower_tiers[-1].admits if lower_tiers else frozenset()
    deciding: dict[str, str] = {}
    for category, where in found:
        if lower_tiers and category not in below:
            deciding.setdefault(category, where)
    if not deciding:
        return tier.number, ["every node is element-wise or a broadcast"]
    return tier.number, [
        f"{category.replace('_', ' ')}: {where}" for category, where in deciding.items()
    ]


def _categories(traced: Trace) -> Iterator[tuple[str, fx.Node, str]]:
    for side in ("forward", "backward"):
        graph: fx.Graph | None = getattr(traced, side)
        if graph is None:
            continue
        lowering = Lowering(traced, side)
        summed: set[fx.Node] = set()
        for node in graph.nodes:
            if node.op != "call_function" or not Lowering.has_value(node):
                continue
            category = _category(lowering, node)
            if category == "batch_reduction" or summed & set(node.all_input_nodes):
                summed.add(node)
                if category in ("pointwise", "row_reduction") and _full_size(lowering, node):
                    category = "several_passes"
            yield side, node, category


def _category(lowering: Lowering, node: fx.Node) -> str:
    name = aten.op_name(node)
    if name in aten.REDUCTIONS:
        return lowering.reduction_category(node)
    if name == "getitem":
        return "broadcast"
    category = aten.table_category(name)
    if category is None:
        return "other"
    if category in ("pointwise", "broadcast") and not lowering.fits(node):
        return "gather" if category == "broadcast" else "other"
    return category


def _full_size(lowering: Lowering, node: fx.Node) -> bool:
    return lowering.fits(node) and lowering.kind(node) in (Kind.ELEMENT, Kind.ROW)


def _tensor_infos(traced: Trace) -> Iterator[TensorInfo]:
    lowering = Lowering(traced, "forward")
    nodes = [n for n in traced.forward.nodes if n.op == "placeholder" and aten.is_tensor(n)]
    for name, node in zip(traced.tensors, nodes, strict=True):
        yield TensorInfo(
            name=public(name),
            kind=str(lowering.kind(node)) if lowering.fits(node) else "other",
            dtype=lowering.dtype(node),
            differentiable=name in traced.differentiable,
        )


def _output_kinds(traced: Trace) -> Iterator[str]:
    lowering = Lowering(traced, "forward")
    (output,) = (node for node in traced.forward.nodes if node.op == "output")
    for node in output.args[0][: traced.outputs]:
        yield str(lowering.kind(node)) if lowering.fits(node) else "other"


def _saved(lowered: Lowered | None) -> tuple[str, ...]:
    """What the forward keeps for the backward: inputs, outputs, and values per row."""
    if lowered is None or lowered.backward is None:
        return ()
    tangents = {f"d{name}" for name in lowered.outputs}
    return tuple(public(v.name) for v in lowered.backward.inputs if v.name not in tangents)


def _operations(graph: Graph) -> list[Value]:
    return [v for v in graph.values() if v.op not in ("input", "constant", "broadcast")]


def _recomputed(lowered: Lowered | None) -> tuple[str, ...]:
    """Forward operations the backward does again instead of reading their result."""
    if lowered is None or lowered.backward is None:
        return ()
    forward = {v.source: v.op for v in _operations(lowered.forward) if v.source}
    again = {v.source for v in _operations(lowered.backward)}
    return tuple(dict.fromkeys(op for source, op in forward.items() if source in again))


def _float32_steps(lowered: Lowered | None) -> tuple[str, ...]:
    if lowered is None:
        return ()
    graphs = [g for g in (lowered.forward, lowered.backward) if g is not None]
    return tuple(sorted({v.op for graph in graphs for v in _operations(graph)} & PRECISE))


def _count(graph: fx.Graph) -> int:
    """Operations of a traced graph that compute something: views, sizes and constants left out."""
    silent = aten.VIEWS | aten.CONSTANTS | {"getitem"}
    nodes = (n for n in graph.nodes if n.op == "call_function" and Lowering.has_value(n))
    return sum(aten.op_name(node) not in silent for node in nodes)


def _traffic(graph: Graph) -> TrafficModel:
    used = {id(value) for value in graph.values()}
    reads = sum(v.kind is Kind.ELEMENT and id(v) in used for v in graph.inputs)
    return TrafficModel(
        reads=reads, writes=sum(v.kind is Kind.ELEMENT for v in graph.results.values())
    )
