"""Changes to what a kernel reads and leaves: zero, twice as much, the negative, rounded values."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence

from workbench.judge.mutants.change import Change, short, text
from workbench.judge.mutants.program import Function, called, last_name
from workbench.judge.mutants.roles import Roles, access
from workbench.judge.mutants.visible import is_compared


def zero_output(function: Function, roles: Roles) -> Iterator[Change]:
    """A result is zero everywhere."""
    if not function.backward:
        yield from _stored(function, roles, "zero output", "{} * 0.0", "is zero")


def missing_gradient(function: Function, roles: Roles) -> Iterator[Change]:
    """A gradient is zero everywhere."""
    if function.backward:
        yield from _stored(function, roles, "missing gradient", "{} * 0.0", "is zero")


def doubled_gradient(function: Function, roles: Roles) -> Iterator[Change]:
    """A gradient is counted twice."""
    if function.backward:
        yield from _stored(function, roles, "doubled gradient", "{} * 2.0", "is doubled")


def negated(function: Function, roles: Roles) -> Iterator[Change]:
    """A result or gradient has the wrong sign."""
    yield from _stored(function, roles, "sign", "-{}", "is negated")


def lower_precision(function: Function, roles: Roles) -> Iterator[Change]:
    """Something is rounded to bfloat16 on its way: what is read, summed or accumulated."""
    for node, new, what in _roundings(roles, function):
        yield Change("lower precision", function, node, new, what)


def _roundings(roles: Roles, function: Function) -> Iterator[tuple[ast.expr | ast.stmt, str, str]]:
    tl = function.language
    rounded = f"{{}}.to({tl}.bfloat16).to({tl}.float32)"
    for node in roles.computing():
        if isinstance(node, ast.Call) and _widens(node, roles) and not is_compared(node, function):
            value = node.func.value  # type: ignore[attr-defined]
            yield node, rounded.format(text(value)), f"{_origin(value)} is rounded to bfloat16"
        elif isinstance(node, ast.Call) and called(node) == "sum" and _is_wide(node.args, roles):
            value = node.args[0]
            yield value, rounded.format(text(value)), f"{short(node)} rounds to bfloat16 first"
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            target = ast.unparse(node.target)
            if roles.is_value(node.value):
                total = rounded.format(f"({target} + {text(node.value)})")
                yield node, f"{target} = {total}", f"{target} accumulates in bfloat16"


def _stored(
    function: Function, roles: Roles, kind: str, form: str, becomes: str
) -> Iterator[Change]:
    for a in roles.accesses:
        value = a.value
        if value is not None and not isinstance(value, ast.Constant):
            what = f"the value stored to {a.tensor} {becomes}"
            yield Change(kind, function, value, form.format(text(value)), what)


def _widens(node: ast.Call, roles: Roles) -> bool:
    """Whether it is `x.to(tl.float32)` of a value that could hold more than a truth."""
    if not (isinstance(node.func, ast.Attribute) and called(node) == "to" and len(node.args) == 1):
        return False
    return last_name(node.args[0]) == "float32" and _is_wide([node.func.value], roles)


def _is_wide(values: Sequence[ast.expr], roles: Roles) -> bool:
    """Whether the first is a value, and not the outcome of a comparison."""
    if not values or isinstance(values[0], ast.Compare | ast.BoolOp):
        return False
    return roles.is_value(values[0])


def _origin(value: ast.expr) -> str:
    """What a value is called: its tensor if it comes straight from memory, else the expression."""
    read = access(value)
    return f"what is read from {read.tensor}" if read else short(value)
