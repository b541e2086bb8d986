"""A small typed graph of an op's arithmetic: what the draft author writes kernels from.

Every value is of one kind against the (rows, cols) grid: an `element` per (row, col), one per
`row`, one per `column`, or a `scalar`. Views disappear, composite reductions become sums, and what
has no such kind is refused by its node.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import sympy

ROWS = sympy.Symbol("n_rows", integer=True, positive=True)
COLS = sympy.Symbol("n_cols", integer=True, positive=True)


# Names the written files use for themselves; an argument of such a name gets a suffix there.
_RESERVED = frozenset(
    (
        "rows cols row_mask col_mask mask offsets n n_rows n_cols start first step tile grid "
        "needs ctx inputs output grad grads op tl triton torch numerics block stages "
        "block_rows block_cols add_parts programs forward backward device_of row_tile "
        "column_tile wide_tile flat_tile kernel check nn self width"
    ).split()
)
_SUFFIX = "_arg"


def safe(name: str) -> str:
    """An argument's name inside kernel.py."""
    return name + _SUFFIX if name in _RESERVED or name.endswith(_SUFFIX) else name


def public(name: str) -> str:
    """The argument's own name, from the one inside kernel.py."""
    return name.removesuffix(_SUFFIX)


class Kind(StrEnum):
    """How a value spreads over the (rows, cols) grid."""

    ELEMENT = "element"
    ROW = "row"
    COLUMN = "column"
    SCALAR = "scalar"

    @staticmethod
    def joined(kinds: Iterable[Kind]) -> Kind:
        """The kind of a point-wise operation over values of these kinds."""
        has = set(kinds)
        if Kind.ELEMENT in has or {Kind.ROW, Kind.COLUMN} <= has:
            return Kind.ELEMENT
        return next((kind for kind in (Kind.ROW, Kind.COLUMN) if kind in has), Kind.SCALAR)


@dataclass(eq=False)
class Value:
    """One operation's result. `expression` holds a constant's value; `source` names the ATen node
    it came from.
    """

    op: str
    kind: Kind
    args: tuple[Value, ...] = ()
    dtype: str = "float"
    expression: sympy.Expr | None = None
    source: str = ""
    name: str = ""

    @property
    def is_reduction(self) -> bool:
        return self.op in ROW_REDUCTIONS or self.op in BATCH_REDUCTIONS

    @property
    def key(self) -> tuple[object, ...]:
        """Equal keys compute equal values."""
        inputs = (self.name,) if self.op == "input" else ()
        return (self.op, self.kind, self.dtype, self.expression, *inputs, *map(id, self.args))


# Over the columns of a row, and over rows (per column) or over everything.
ROW_REDUCTIONS = frozenset({"row_sum", "row_max", "row_min"})
BATCH_REDUCTIONS = frozenset({"batch_sum"})


@dataclass
class Graph:
    """One direction of an op: its inputs in order, and its results by name."""

    inputs: list[Value] = field(default_factory=list)
    results: dict[str, Value] = field(default_factory=dict)

    def values(self) -> list[Value]:
        """Every value the results need, arguments before users."""
        return list(reachable(self.results.values()))

    def input(self, name: str) -> Value:
        return next(value for value in self.inputs if value.name == name)


def reachable(results: Iterable[Value], known: Iterable[int] = ()) -> Iterator[Value]:
    """The values `results` depend on and themselves, in dependency order, each once.

    `known` are ids of values already there: neither they nor what only they depend on are visited.
    """
    seen: set[int] = set(known)
    stack: list[tuple[Value, bool]] = [(value, False) for value in reversed(list(results))]
    while stack:
        value, expanded = stack.pop()
        if expanded:
            yield value
        elif id(value) not in seen:
            seen.add(id(value))
            stack.append((value, True))
            stack.extend((arg, False) for arg in reversed(value.args))


def constant(expression: Any, source: str = "") -> Value:
    """A number, or an expression in the sizes and the op's parameters."""
    return Value("constant", Kind.SCALAR, expression=sympy.sympify(expression), source=source)


def pointwise(op: str, *args: Value, dtype: str = "float", source: str = "") -> Value:
    """A point-wise operation; its kind is the join of its arguments'."""
    return Value(op, Kind.joined(arg.kind for arg in args), args, dtype, source=source)
