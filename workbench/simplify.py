"""Tidy an arithmetic graph so that the kernel written from it reads as a person would write it.

Every rule keeps the value for all inputs, NaN and infinity included; what is only equal on paper is
left alone.
"""

from __future__ import annotations

from collections.abc import Callable

import sympy

from workbench.graph import Graph, Kind, Value, constant, pointwise, reachable

COMMUTATIVE = frozenset(
    {"add", "mul", "maximum", "minimum", "eq", "ne", "logical_and", "logical_or"}
)


def simplify(graph: Graph) -> Graph:
    """The same graph with equal values merged, constants folded and the rules below applied, until
    nothing changes.
    """
    results = graph.results
    while True:
        simpler = _pass(graph.inputs, results)
        if _size(simpler) == _size(results) and all(simpler[n] is results[n] for n in results):
            return Graph(graph.inputs, results)
        results = simpler


def _size(results: dict[str, Value]) -> int:
    return sum(1 for _ in reachable(results.values()))


def _pass(inputs: list[Value], results: dict[str, Value]) -> dict[str, Value]:
    known: dict[tuple[object, ...], Value] = {value.key: value for value in inputs}
    new: dict[int, Value] = {}
    for value in reachable(results.values()):
        args = tuple(new[id(arg)] for arg in value.args)
        if value.op in COMMUTATIVE:
            # A factor stands before what it scales, any other constant behind.
            args = tuple(sorted(args, key=lambda v: (v.op == "constant") != (value.op == "mul")))
        same = len(args) == len(value.args) and all(
            a is b for a, b in zip(args, value.args, strict=True)
        )
        rebuilt = value if same else _copy(value, args)
        rebuilt = _rewrite(rebuilt)
        new[id(value)] = known.setdefault(_key(rebuilt), rebuilt)
    return {name: new[id(value)] for name, value in results.items()}


def _key(value: Value) -> tuple[object, ...]:
    if value.op in COMMUTATIVE:
        swapped = _copy(value, tuple(sorted(value.args, key=id)))
        return ("commutative", *swapped.key)
    return value.key


def _copy(value: Value, args: tuple[Value, ...]) -> Value:
    kind = (
        value.kind
        if value.is_reduction or value.op in ("broadcast", "pair")
        else Kind.joined(a.kind for a in args)
    )
    return Value(value.op, kind, args, value.dtype, value.expression, value.source, value.name)


def _rewrite(value: Value) -> Value:
    folded = _fold(value)
    if folded is not None:
        return folded
    rule = _RULES.get(value.op)
    return (rule(value) if rule else None) or _into_sum(value) or value


_FOLDS: dict[str, Callable[..., sympy.Expr]] = {
    "add": lambda a, b: a + b,
    "sub": lambda a, b: a - b,
    "mul": lambda a, b: a * b,
    "div": lambda a, b: a / b,
    "neg": lambda a: -a,
    "pow": lambda a, b: a**b,
    "square": lambda a: a**2,
    "sqrt": sympy.sqrt,
    "rsqrt": lambda a: 1 / sympy.sqrt(a),
    "reciprocal": lambda a: 1 / a,
    "log": sympy.log,
    "exp": sympy.exp,
}


def _fold(value: Value) -> Value | None:
    fold = _FOLDS.get(value.op)
    if fold and all(arg.op == "constant" for arg in value.args):
        folded = fold(*(arg.expression for arg in value.args))
        if not folded.has(sympy.zoo, sympy.nan, sympy.oo):
            return constant(folded, value.source)
    return None


def _number(value: Value) -> float | None:
    """A constant's number; None for what isn't a constant or depends on sizes or parameters."""
    if value.op == "constant" and value.expression is not None and value.expression.is_number:
        return float(value.expression)
    return None


def _constant(value: Value) -> sympy.Expr:
    assert value.expression is not None
    return value.expression


def _make(op: str, *args: Value, like: Value) -> Value:
    return pointwise(op, *args, dtype=like.dtype, source=like.source)


def _mul(value: Value) -> Value | None:
    left, right = value.args
    if _number(left) == 1:
        return right
    if _number(left) == -1:
        return _make("neg", right, like=value)
    if left.op == "constant" and _is_scaled(right):
        factor = _constant(left) * _constant(right.args[0])
        return _make("mul", constant(factor), right.args[1], like=value)
    if left.op != "constant":
        for scaled, other in ((left, right), (right, left)):
            if _is_scaled(scaled):
                return _make(
                    "mul",
                    scaled.args[0],
                    _make("mul", scaled.args[1], other, like=value),
                    like=value,
                )
    if left is right:
        return _make("square", left, like=value)
    return None


def _is_scaled(value: Value) -> bool:
    """Whether a value is a constant times something: constants are gathered at the front of a
    product.
    """
    return value.op == "mul" and value.args[0].op == "constant" and value.args[1].op != "constant"


def _add(value: Value) -> Value | None:
    left, right = value.args
    if _number(right) == 0:
        return left
    if right.op == "neg":
        return _make("sub", left, right.args[0], like=value)
    if left.op == "neg":
        return _make("sub", right, left.args[0], like=value)
    return None


def _sub(value: Value) -> Value | None:
    left, right = value.args
    if _number(right) == 0:
        return left
    if right.op == "neg":
        return _make("add", left, right.args[0], like=value)
    return None


def _where(value: Value) -> Value | None:
    """Where x ≤ 0 doesn't hold, relu(x) is x; and a condition reads best without a not."""
    condition, chosen, other = value.args
    if condition.op == "logical_not":
        return _make("where", condition.args[0], other, chosen, like=value)
    if condition.op == "le" and _number(condition.args[1]) == 0:
        x = condition.args[0]
        without = _replace(other, lambda v: x if v.op == "relu" and v.args[0] is x else None)
        if without is not other:
            return _make("where", condition, chosen, without, like=value)
    return None


def _replace(value: Value, change: Callable[[Value], Value | None]) -> Value:
    """`value` with parts exchanged; the very same object where nothing changed."""
    changed = change(value)
    if changed is not None:
        return changed
    args = tuple(_replace(arg, change) for arg in value.args)
    return (
        value if all(a is b for a, b in zip(args, value.args, strict=True)) else _copy(value, args)
    )


def _is_one_plus_exp_minus(value: Value) -> Value | None:
    """`x` of `1 + exp(-x)`."""
    if value.op == "add" and _number(value.args[1]) == 1 and value.args[0].op == "exp":
        power = value.args[0].args[0]
        if power.op == "neg":
            return power.args[0]
    return None


def _div(value: Value) -> Value | None:
    left, right = value.args
    if _number(right) == 1:
        return left
    if _is_scaled(left):
        return _make("mul", left.args[0], _make("div", left.args[1], right, like=value), like=value)
    x = _is_one_plus_exp_minus(right)
    if x is not None:
        sigmoid = _make("sigmoid", x, like=value)
        return sigmoid if _number(left) == 1 else _make("mul", left, sigmoid, like=value)
    return None


def _reciprocal(value: Value) -> Value | None:
    x = _is_one_plus_exp_minus(value.args[0])
    return (
        _make("sigmoid", x, like=value)
        if x is not None
        else _make("div", constant(1), value.args[0], like=value)
    )


_NAMED_POWERS = {2.0: "square", 0.5: "sqrt", -0.5: "rsqrt"}


def _pow(value: Value) -> Value | None:
    base, exponent = value.args
    power = _number(exponent)
    if power is None:
        return None
    if power < 0 and power != -0.5:
        inverse = _make("pow", base, constant(-_constant(exponent)), like=value)
        return _make("div", constant(1), inverse, like=value)
    if power in (0.0, 1.0):
        return base if power else constant(1)
    if power in _NAMED_POWERS:
        return _make(_NAMED_POWERS[power], base, like=value)
    if power == int(power) and power <= 16:
        half = _make("pow", base, constant(int(power) // 2), like=value)
        square = _make("square", half, like=value)
        return _make("mul", square, base, like=value) if power % 2 else square
    return None


def _neg(value: Value) -> Value | None:
    (x,) = value.args
    if x.op == "neg":
        return x.args[0]
    if x.op == "mul" and x.args[0].op == "constant":
        return _make("mul", constant(-_constant(x.args[0])), x.args[1], like=value)
    return None


def _of_relu(value: Value) -> Value | None:
    """relu(x) ≤ 0 is x ≤ 0, and relu(x) > 0 is x > 0."""
    left, right = value.args
    if left.op == "relu" and _number(right) == 0:
        return _make(value.op, left.args[0], right, like=value)
    return None


def _into_sum(value: Value) -> Value | None:
    """Move a linear step inside a sum over the batch: c · Σa is Σ(c·a), Σa + Σb is Σ(a + b)."""
    sums = [arg for arg in value.args if arg.op == "batch_sum"]
    if not sums:
        return None
    first = value.args[0]
    if len(sums) == len(value.args):
        inner = value.op in ("add", "sub", "neg") and len({s.kind for s in sums}) == 1
    else:
        allowed = (Kind.SCALAR, sums[0].kind)
        others = [arg for arg in value.args if arg.op != "batch_sum"]
        linear = value.op == "mul" or (value.op == "div" and first.op == "batch_sum")
        inner = linear and all(arg.kind in allowed for arg in others)
    if not inner:
        return None
    body = _make(
        value.op, *(arg.args[0] if arg.op == "batch_sum" else arg for arg in value.args), like=value
    )
    return Value("batch_sum", sums[0].kind, (body,), source=value.source)


def _to_float(value: Value) -> Value | None:
    return value.args[0] if value.args[0].dtype == "float" else None


def _broadcast(value: Value) -> Value | None:
    return value.args[0] if value.args[0].kind is value.kind else None


_RULES: dict[str, Callable[[Value], Value | None]] = {
    "mul": _mul,
    "add": _add,
    "sub": _sub,
    "div": _div,
    "reciprocal": _reciprocal,
    "pow": _pow,
    "neg": _neg,
    "where": _where,
    "le": _of_relu,
    "gt": _of_relu,
    "to_float": _to_float,
    "broadcast": _broadcast,
}
