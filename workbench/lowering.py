"""From the nodes of an ATen graph to arithmetic values, one node at a time.

Views vanish, sizes become `n_rows` and `n_cols`, mean and variance become sums, every tensor gets
its kind; a node that has no place among these is refused by its name.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import sympy
import torch
from torch import fx

from workbench import aten
from workbench.errors import AuthorError
from workbench.graph import COLS, ROWS, Kind, Value, constant, pointwise
from workbench.trace import Trace


@dataclass
class Lowering:
    """One pass over one graph; `values` maps its nodes to what they became."""

    trace: Trace
    side: str
    values: dict[fx.Node, Value] = field(default_factory=dict)
    inputs: list[Value] = field(default_factory=list)

    def run(self) -> None:
        graph: fx.Graph = getattr(self.trace, self.side)
        for node in graph.nodes:
            if node.op == "call_function" and node not in self.values and self.has_value(node):
                self.values[node] = self._lower(node)

    @staticmethod
    def has_value(node: fx.Node) -> bool:
        """Whether a node makes a tensor, not a size."""
        return not isinstance(node.meta.get("val"), torch.SymInt | torch.SymFloat | int | float)

    def bind_input(self, node: fx.Node, name: str) -> None:
        """Say that a placeholder is the op's input of that name."""
        self.values[node] = Value(
            "input", self.kind(node), dtype=self.dtype(node), name=name, source=node.name
        )
        self.inputs.append(self.values[node])

    @staticmethod
    def dtype(node: fx.Node) -> str:
        """What a node's tensor holds: float, bool or int."""
        dtype = node.meta["val"].dtype
        return "float" if dtype.is_floating_point else "bool" if dtype == torch.bool else "int"

    def result(self, node: fx.Node) -> Value:
        """A node's value, marked as repeated where its tensor is larger than what varies."""
        value, kind = self.values[node], self.kind(node)
        return (
            value
            if value.kind is kind
            else Value("broadcast", kind, (value,), value.dtype, source=node.name)
        )

    def kind(self, node: fx.Node) -> Kind:
        """The kind of a node's tensor, from its symbolic shape."""
        shape = self._shape(node)
        if shape not in _KINDS:
            sizes = ", ".join(map(str, shape))
            raise AuthorError(
                f"{self.side} node {aten.describe(node)} has the shape ({sizes}), "
                "neither rows nor columns nor both",
                hint="the draft author writes tiers 1 and 2; take another author for this op",
            )
        return _KINDS[shape]

    def fits(self, node: fx.Node) -> bool:
        """Whether a node's tensor is of one of the four kinds."""
        value = node.meta["val"]
        return isinstance(value, tuple | list) or self._shape(node) in _KINDS

    def reduction_category(self, node: fx.Node) -> str:
        """How a reduction node reduces, in the tiers' words."""
        if aten.op_name(node) in ("argmax", "argmin", "prod"):
            return "other"
        gone = self._gone(node)
        if not gone:
            return "broadcast"
        if gone == {COLS}:
            return "row_reduction"
        return "batch_reduction" if gone <= {ROWS, COLS} else "other"

    def _shape(self, node: fx.Node) -> tuple[Any, ...]:
        return tuple(self._size(size) for size in node.meta["val"].shape)

    def _size(self, size: Any) -> Any:
        if isinstance(size, torch.SymInt | torch.SymFloat):
            return self._localise(size.node.expr)
        return size

    def _localise(self, expression: sympy.Expr) -> sympy.Expr:
        plain = expression.replace(
            lambda e: type(e).__name__ in _PLAIN_SYMPY,
            lambda e: _PLAIN_SYMPY[type(e).__name__](*e.args),
        )
        whole = plain.replace(
            lambda e: e.is_Float and float(e).is_integer(), lambda e: sympy.Integer(int(e))
        )
        return whole.subs({self.trace.rows: ROWS, self.trace.cols: COLS})

    def _operand(self, node: fx.Node, key: int | str) -> Value:
        """An argument as a value: a tensor's, a size expression, a number, or a number in the
        parameters.
        """
        raw = node.args[key] if isinstance(key, int) else node.kwargs[key]
        fitted = self.trace.fitted.get(self.side, {}).get((node.name, (key,)))
        if fitted is not None:
            return constant(fitted, node.name)
        if isinstance(raw, fx.Node):
            return (
                self.values[raw]
                if raw in self.values
                else constant(self._size(raw.meta["val"]), raw.name)
            )
        return constant(self._size(raw), node.name)

    def _lower(self, node: fx.Node) -> Value:
        name = aten.op_name(node)
        if node.target is operator.getitem:
            return self._pick(node)
        if name in _SPECIAL:
            return _SPECIAL[name](self, node)
        if name in aten.VIEWS:
            return self._view(node)
        if name in aten.POINTWISE:
            operands = [self._operand(node, i) for i in range(len(node.args))]
            dtype = "bool" if node.meta["val"].dtype == torch.bool else "float"
            if dtype == "float":
                operands = [
                    v if v.dtype == "float" or name == "where" else pointwise("to_float", v)
                    for v in operands
                ]
            return pointwise(_RENAMED.get(name, name), *operands, dtype=dtype, source=node.name)
        raise AuthorError(
            f"the draft author can't derive {self.side} node {aten.describe(node)}",
            hint="it knows point-wise operations and sums, maxima and means over rows; "
            "take another author for this op",
        )

    def _view(self, node: fx.Node) -> Value:
        value = self._operand(node, 0)
        self.kind(node)  # refuses shapes that are neither
        return value

    def _pick(self, node: fx.Node) -> Value:
        source, index = node.args
        assert isinstance(source, fx.Node) and isinstance(index, int)
        return self.values[source].args[index]

    # Reductions

    def _count(self, node: fx.Node) -> sympy.Expr:
        """How many elements each result of a reduction node takes in."""
        return sympy.Mul(*self._gone(node))

    def _gone(self, node: fx.Node) -> set[sympy.Expr]:
        """The sizes a reduction node reduces away, those of one left out."""
        source = node.args[0]
        assert isinstance(source, fx.Node)
        shape = self._shape(source)
        dims = aten.argument(node, 1, "dim")
        if isinstance(dims, int):
            dims = [dims]
        axes = {dim % len(shape) for dim in dims} if dims else set(range(len(shape)))
        return {shape[axis] for axis in axes} - {1}

    def _reduce(self, node: fx.Node, value: Value, what: str) -> Value:
        """Reduce what varies; along a size the value is repeated over, a sum is a product and an
        extreme itself.
        """
        gone = self._gone(node)
        if value.dtype != "float":
            value = pointwise("to_float", value, source=node.name)
        for size, varying in (
            (COLS, (Kind.ELEMENT, Kind.COLUMN)),
            (ROWS, (Kind.ELEMENT, Kind.ROW)),
        ):
            if size in gone and value.kind not in varying:
                gone.remove(size)
                if what == "sum":
                    value = pointwise("mul", value, constant(size), source=node.name)
        if not gone:
            return value
        if gone == {COLS} and value.kind is Kind.ELEMENT:
            return Value(f"row_{what}", Kind.ROW, (value,), source=node.name)
        if ROWS in gone and what == "sum":
            kind = Kind.COLUMN if value.kind is Kind.ELEMENT and gone == {ROWS} else Kind.SCALAR
            return Value("batch_sum", kind, (value,), source=node.name)
        raise AuthorError(
            f"the draft author has no reduction for {self.side} node {aten.describe(node)}"
        )

    def _sum(self, node: fx.Node) -> Value:
        return self._reduce(node, self._operand(node, 0), "sum")

    def _mean(self, node: fx.Node) -> Value:
        total = self._reduce(node, self._operand(node, 0), "sum")
        return pointwise("div", total, constant(self._count(node)), source=node.name)

    def _extreme(self, what: str) -> Callable[[fx.Node], Value]:
        return lambda node: self._reduce(node, self._operand(node, 0), what)

    def _var_and_mean(self, node: fx.Node) -> tuple[Value, Value]:
        value = self._operand(node, 0)
        mean = self._mean(node)
        correction = node.kwargs.get("correction", 1)
        centred = pointwise("sub", value, mean, source=node.name)
        squares = self._reduce(node, pointwise("square", centred, source=node.name), "sum")
        degrees = constant(
            self._count(node) - (1 if correction is None else sympy.nsimplify(correction))
        )
        return pointwise("div", squares, degrees, source=node.name), mean

    def _var(self, node: fx.Node) -> Value:
        return self._var_and_mean(node)[0]

    def _var_mean(self, node: fx.Node) -> Value:
        return Value("pair", Kind.SCALAR, self._var_and_mean(node), source=node.name)

    # Point-wise operations with arguments of their own

    def _add(self, node: fx.Node) -> Value:
        left, right = self._operand(node, 0), self._operand(node, 1)
        if "alpha" in node.kwargs:
            right = pointwise("mul", right, self._operand(node, "alpha"), source=node.name)
        return pointwise(aten.op_name(node), left, right, source=node.name)

    def _rsub(self, node: fx.Node) -> Value:
        return pointwise("sub", self._operand(node, 1), self._operand(node, 0), source=node.name)

    def _fma(self, node: fx.Node) -> Value:
        a, b, c = (self._operand(node, i) for i in range(3))
        return pointwise("add", pointwise("mul", a, b, source=node.name), c, source=node.name)

    def _addcmul(self, node: fx.Node) -> Value:
        x, a, b = (self._operand(node, i) for i in range(3))
        joined = pointwise(
            "mul" if aten.op_name(node) == "addcmul" else "div", a, b, source=node.name
        )
        if "value" in node.kwargs:
            joined = pointwise("mul", self._operand(node, "value"), joined, source=node.name)
        return pointwise("add", x, joined, source=node.name)

    def _clamp(self, node: fx.Node) -> Value:
        value = self._operand(node, 0)
        for position, name, op in ((1, "min", "maximum"), (2, "max", "minimum")):
            if aten.argument(node, position, name) is not None:
                key: int | str = position if len(node.args) > position else name
                value = pointwise(op, value, self._operand(node, key), source=node.name)
        return value

    def _bound(self, op: str) -> Callable[[fx.Node], Value]:
        return lambda node: pointwise(
            op, self._operand(node, 0), self._operand(node, 1), source=node.name
        )

    def _leaky_relu(self, node: fx.Node) -> Value:
        x = self._operand(node, 0)
        slope = self._operand(node, 1) if len(node.args) > 1 else constant(0.01)
        scaled = pointwise("mul", x, slope, source=node.name)
        positive = pointwise("gt", x, constant(0), dtype="bool", source=node.name)
        return pointwise("where", positive, x, scaled, source=node.name)

    def _cast(self, node: fx.Node) -> Value:
        value = self._operand(node, 0)
        target = node.meta["val"].dtype
        if target.is_floating_point:
            if target in (torch.float16, torch.bfloat16):
                raise AuthorError(
                    f"{self.side} node {aten.describe(node)} rounds to {target} in the reference"
                )
            return (
                value if value.dtype == "float" else pointwise("to_float", value, source=node.name)
            )
        if target == torch.bool:
            return (
                value
                if value.dtype == "bool"
                else pointwise("ne", value, constant(0), dtype="bool", source=node.name)
            )
        raise AuthorError(f"{self.side} node {aten.describe(node)} makes integers ({target})")

    def _filled(self, node: fx.Node) -> Value:
        name = aten.op_name(node)
        self.kind(node)
        if name in ("zeros", "zeros_like", "new_zeros"):
            return constant(0, node.name)
        if name in ("ones", "ones_like", "new_ones"):
            return constant(1, node.name)
        return self._operand(node, 0 if name == "scalar_tensor" else 2 if name == "new_full" else 1)


# torch's own sympy functions, which keep Python's semantics, as sympy's.
_PLAIN_SYMPY: dict[str, Callable[..., sympy.Expr]] = {
    "ToFloat": lambda x: x,
    "FloatTrueDiv": lambda a, b: a / b,
    "IntTrueDiv": lambda a, b: a / b,
    "FloatPow": lambda a, b: a ** sympy.nsimplify(b),
    "PowByNatural": lambda a, b: a**b,
    "OpaqueUnaryFn_sqrt": sympy.sqrt,
}
_KINDS: dict[tuple[Any, ...], Kind] = {
    (ROWS, COLS): Kind.ELEMENT,
    (ROWS, 1): Kind.ROW,
    (ROWS,): Kind.ROW,
    (1, COLS): Kind.COLUMN,
    (COLS,): Kind.COLUMN,
    (1, 1): Kind.SCALAR,
    (1,): Kind.SCALAR,
    (): Kind.SCALAR,
}
_RENAMED = {"bitwise_and": "logical_and", "bitwise_or": "logical_or", "bitwise_not": "logical_not"}
_SPECIAL: dict[str, Callable[[Lowering, fx.Node], Value]] = {
    "sum": Lowering._sum,
    "mean": Lowering._mean,
    "amax": lambda lowering, node: lowering._extreme("max")(node),
    "amin": lambda lowering, node: lowering._extreme("min")(node),
    "var": Lowering._var,
    "var_mean": Lowering._var_mean,
    "add": Lowering._add,
    "sub": Lowering._add,
    "rsub": Lowering._rsub,
    "fma": Lowering._fma,
    "addcmul": Lowering._addcmul,
    "addcdiv": Lowering._addcmul,
    "clamp": Lowering._clamp,
    "clamp_min": lambda lowering, node: lowering._bound("maximum")(node),
    "clamp_max": lambda lowering, node: lowering._bound("minimum")(node),
    "leaky_relu": Lowering._leaky_relu,
    "convert_element_type": Lowering._cast,
    "_to_copy": Lowering._cast,
    **dict.fromkeys(
        (
            "full",
            "full_like",
            "scalar_tensor",
            "zeros",
            "zeros_like",
            "ones",
            "ones_like",
            "new_zeros",
            "new_ones",
            "new_full",
        ),
        Lowering._filled,
    ),
}
