"""Decide the shape of an op's kernels from its arithmetic graph.

Three structures cover tiers 1 and 2. `flat`: every tensor is full-size, so one index runs over all
elements. `row`: a program holds whole rows, because something is reduced along them. `tile`: a two-
dimensional tile, where weights are repeated over rows but nothing is reduced along them. A sum over
the batch (a weight's gradient) is taken in float32: each program adds up the rows it visits and
stores one part; a second launch adds the parts, in a fixed order.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

from workbench.authors.emit import Writer, zero_outside
from workbench.authors.passes import Pass, plan_passes
from workbench.errors import AuthorError
from workbench.graph import COLS, ROWS, Graph, Kind, Value, public
from workbench.lower import Lowered


@dataclass(frozen=True)
class Tensor:
    """A tensor a kernel reads or writes."""

    name: str
    kind: Kind
    dtype: str = "float"
    rank: int = 2  # of the tensor when the op's shape is (rows, cols)
    float32: bool = False  # whatever the inputs are: kept for the backward, or a loss

    @property
    def pointer(self) -> str:
        return self.name.upper()

    @property
    def is_full(self) -> bool:
        """Whether it has the op's shape and dtype."""
        return self.kind is Kind.ELEMENT and self.dtype == "float"

    @property
    def public(self) -> str:
        """The name users know it by."""
        return public(self.name)


@dataclass(frozen=True)
class Sum:
    """A result summed over the batch: `term` is added up per program, over a tile of the term's
    kind.
    """

    name: str
    kind: Kind
    term: str
    term_kind: Kind

    @property
    def parts(self) -> str:
        return f"{self.name}_parts"


@dataclass(frozen=True)
class KernelPlan:
    """One kernel: its structure, what it reads, writes and adds up, and the lines of its
    arithmetic.
    """

    structure: str
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    sums: tuple[Sum, ...]
    parameters: tuple[str, ...]
    lines: tuple[str, ...]
    texts: Mapping[str, str]
    passes: tuple[Pass, ...] = ()  # of the kernel for rows too wide to hold, if there is one
    pass_texts: Mapping[str, str] = field(default_factory=dict)

    @property
    def results(self) -> tuple[str, ...]:
        return (*(t.name for t in self.outputs), *(s.name for s in self.sums))

    @property
    def full_size(self) -> int:
        """Full-size tensors read or written: what registers and traffic go by."""
        return sum(t.kind is Kind.ELEMENT for t in (*self.inputs, *self.outputs))

    @property
    def reads_per_row(self) -> bool:
        return any(t.kind is Kind.ROW for t in (*self.inputs, *self.outputs))

    def of_kind(self, kind: str) -> list[Tensor]:
        return [tensor for tensor in self.inputs if tensor.kind == kind]


# Names a kernel uses for itself: no value may be called so.
_TAKEN = frozenset(
    ("rows cols row_mask col_mask mask offsets n n_rows n_cols start first step").split()
)


def plan(
    graph: Graph, parameters: Mapping[str, float], float32: tuple[str, ...] = ()
) -> KernelPlan:
    """Plan one direction; `float32` are the results that are that whatever the inputs are.

    Raises:
        AuthorError: something is computed from a sum over the batch, which takes more passes than a
        tier-2 op has.
    """
    values = graph.values()
    _refuse_second_pass(values)
    structure = _structure(graph, values)
    writer = _writer(graph)
    parts = {name: value for name, value in graph.results.items() if value.op == "batch_sum"}
    whole = {name: value for name, value in graph.results.items() if name not in parts}
    writer.write([*whole.values(), *(value.args[0] for value in parts.values())])
    sums = tuple(_sum(writer, name, value, structure) for name, value in parts.items())
    used = {id(value) for value in values}
    outputs = tuple(
        Tensor(name, value.kind, value.dtype, float32=name in float32)
        for name, value in whole.items()
    )
    symbols = {
        str(s) for v in values if v.expression is not None for s in v.expression.free_symbols
    }
    passes, pass_texts = _wide(graph, structure, bool(sums))
    return KernelPlan(
        structure=structure,
        inputs=tuple(Tensor(v.name, v.kind, v.dtype) for v in graph.inputs if id(v) in used),
        outputs=outputs,
        sums=sums,
        parameters=tuple(name for name in parameters if name in symbols),
        lines=tuple(writer.lines),
        texts={name: writer.text(value) for name, value in whole.items()},
        passes=tuple(passes),
        pass_texts=pass_texts,
    )


def _wide(graph: Graph, structure: str, sums: bool) -> tuple[list[Pass], dict[str, str]]:
    """The passes of the kernel for wide rows. A sum over the batch needs the whole row at once, so
    it has none.
    """
    if structure != "row" or sums:
        return [], {}
    names = {id(v): name for name, v in reversed(graph.results.items()) if v.op != "input"}
    return plan_passes(graph, names, set(_TAKEN) | {value.name for value in graph.inputs})


def _refuse_second_pass(values: list[Value]) -> None:
    for value in values:
        for arg in value.args:
            if arg.op == "batch_sum":
                raise AuthorError(
                    f"{value.op} (node {value.source}) is computed from a sum over the batch: "
                    "that takes another pass",
                    hint="ops of several passes are tier 3; take another author for this op",
                )


def _structure(graph: Graph, values: list[Value]) -> str:
    if any(value.op.startswith("row_") for value in values):
        return "row"
    flat_kinds = (Kind.ELEMENT, Kind.SCALAR)
    tensors = [v for v in values if v.op == "input"] + list(graph.results.values())
    sizes = any(
        v.expression is not None and v.expression.free_symbols & {ROWS, COLS} for v in values
    )
    if (
        all(v.kind in flat_kinds for v in tensors)
        and not sizes
        and not any(v.op == "batch_sum" for v in values)
    ):
        return "flat"
    return "tile"


def _writer(graph: Graph) -> Writer:
    names = {
        id(v): name
        for name, v in reversed(graph.results.items())
        if v.op not in ("input", "batch_sum")
    }
    writer = Writer(names=names, taken=set(_TAKEN) | {value.name for value in graph.inputs})
    for value in graph.inputs:
        writer.bind(value, value.name)
    return writer


def _sum(writer: Writer, name: str, value: Value, structure: str) -> Sum:
    (term,) = value.args
    text = writer.text(term)
    # Columns past the end are not stored, so only a sum over all of them must leave them out.
    lanes = ("rows",) if value.kind is Kind.COLUMN else ("rows", "cols")
    if not all(zero_outside(term, which) for which in lanes):
        mask = {Kind.ELEMENT: "mask", Kind.ROW: "row_mask"}[term.kind]
        text = f"tl.where({mask}, {text}, 0.0)"
    if term.kind is Kind.ROW and structure == "tile":
        # Every block of columns visits the row; the first one counts it.
        text = f"tl.where(tl.program_id(1) == 0, {text}, 0.0)"
    return Sum(name, value.kind, text, term.kind)


@dataclass(frozen=True)
class OpPlan:
    """Both kernels of an op, and how the tensors travel between user, forward and backward."""

    op: str
    tensors: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    saved: tuple[str, ...]
    parameters: Mapping[str, float]
    forward: KernelPlan
    backward: KernelPlan

    @property
    def is_flat(self) -> bool:
        """Whether one index over all elements does for both kernels."""
        return self.forward.structure == self.backward.structure == "flat"

    @property
    def like(self) -> str:
        """The tensor whose shape is the op's shape."""
        return next(t.name for t in self.tensors if t.is_full)

    @property
    def full(self) -> set[str]:
        """Names of the tensors of the op's shape and dtype."""
        return {t.name for t in (*self.tensors, *self.outputs) if t.is_full}

    @property
    def kept(self) -> list[str]:
        """Names the autograd context saves: what the backward reads, and one full-size tensor for
        the shape.
        """
        reads = [t.name for t in self.backward.inputs if t.name not in self.tangents]
        if not self.full & set(reads):
            reads.insert(0, self.like)
        return reads

    @property
    def tangents(self) -> list[str]:
        return [f"d{t.name}" for t in self.outputs]

    @property
    def gradient_names(self) -> list[str]:
        """Gradients in the order of the tensors they belong to."""
        return [f"d{t.name}" for t in self.tensors if f"d{t.name}" in self.backward.results]


def plan_op(
    op: str,
    lowered: Lowered,
    ranks: Mapping[str, int],
    parameters: Mapping[str, float],
    float32: Collection[str] = (),
) -> OpPlan:
    """Plan an op from its lowered graphs; `ranks` are the tensors' numbers of dimensions, in order
    of the arguments; `float32` the outputs that are that whatever the inputs are.
    """
    if lowered.backward is None:
        raise AuthorError(f"{op} has no gradient to write a backward kernel for")
    for value in lowered.forward.inputs:
        if value.dtype == "int":
            raise AuthorError(
                f"{public(value.name)} holds integers, which no template loads",
                hint="the draft author takes floating tensors and boolean masks",
            )
    for name in float32:
        if lowered.forward.results[name].kind is not Kind.ROW:
            raise AuthorError(
                f"{name} is float32 whatever the inputs are, which no template writes",
                hint="give it the inputs' dtype, or one value per row",
            )
    forward = plan(lowered.forward, parameters, (*lowered.saved, *float32))
    backward = plan(lowered.backward, parameters)
    inputs = {value.name: value for value in lowered.forward.inputs}
    results = {name: lowered.forward.results[name] for name in lowered.outputs}
    return OpPlan(
        op=op,
        tensors=tuple(
            Tensor(name, inputs[name].kind, inputs[name].dtype, ranks[name]) for name in ranks
        ),
        outputs=tuple(
            Tensor(name, value.kind, value.dtype, rank, name in float32)
            for (name, value), rank in zip(results.items(), lowered.output_ranks, strict=True)
        ),
        saved=lowered.saved,
        parameters=parameters,
        forward=forward if backward.passes else replace(forward, passes=()),
        backward=backward if forward.passes else replace(backward, passes=()),
    )
