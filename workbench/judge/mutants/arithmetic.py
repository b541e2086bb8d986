"""Changes to what a kernel computes."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from workbench.judge.mutants.change import Change, short, text
from workbench.judge.mutants.program import Function, called, last_name
from workbench.judge.mutants.roles import LOADS, REDUCTIONS, STORES, Roles, is_guard
from workbench.judge.mutants.visible import (
    becomes_peak,
    cancels,
    is_even,
    is_mask,
    is_rescaled,
)

_DIVISIONS = frozenset({"divide", "div_rn", "fdiv"})
_OPPOSITE = {"maximum": "minimum", "minimum": "maximum", "max": "sum", "sum": "max", "min": "max"}
# Calls that only change the form, or whose arguments can't change places.
_FORM = frozenset(
    {"to", "cast", "where", "dot", "full", "zeros", "full_like", "zeros_like", "broadcast_to"}
    | {"reshape", "view", "trans", "expand_dims", "join", "split", "maximum", "minimum", "isnan"}
)
_FLIPPED: dict[type[ast.cmpop], ast.cmpop] = {
    ast.Lt: ast.Gt(),
    ast.LtE: ast.GtE(),
    ast.Gt: ast.Lt(),
    ast.GtE: ast.LtE(),
    ast.Eq: ast.NotEq(),
    ast.NotEq: ast.Eq(),
}


def sign(function: Function, roles: Roles) -> Iterator[Change]:
    """+ for -, or the reverse, between values; a minus left out."""
    for node in roles.computing():
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            if roles.is_value(node.operand):
                what = f"{short(node)} loses its minus"
                yield Change("sign", function, node, ast.unparse(node.operand), what)
        elif isinstance(node, ast.BinOp | ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
            left = node.left if isinstance(node, ast.BinOp) else node.target
            right = node.right if isinstance(node, ast.BinOp) else node.value
            hidden = isinstance(node.op, ast.Sub) and cancels(right, roles)
            if roles.is_value(left) and roles.is_value(right) and not hidden:
                other = "+" if isinstance(node.op, ast.Sub) else "-"
                equals = "" if isinstance(node, ast.BinOp) else "="
                new = f"{ast.unparse(left)} {other}{equals} {text(right)}"
                what = f"{short(node)} has {other} instead"
                yield Change("sign", function, node, new, what)


def swapped_arguments(function: Function, roles: Roles) -> Iterator[Change]:
    """The two sides of -, /, `where`, or of a call with two values, in each other's place."""
    for node in roles.computing():
        if isinstance(node, ast.BinOp):
            new = _swapped_sides(node, function, roles)
        elif isinstance(node, ast.Call):
            new = _swapped_call(node, function, roles)
        else:
            continue
        if new:
            yield Change("swapped arguments", function, node, new, f"{short(node)} is turned round")


def comparison(function: Function, roles: Roles) -> Iterator[Change]:
    """A comparison between values the other way round."""
    for node in roles.computing():
        if not (isinstance(node, ast.Compare) and len(node.ops) == 1 and roles.is_value(node)):
            continue
        flipped = _FLIPPED.get(type(node.ops[0]))
        if flipped and not is_guard(node) and not is_mask(node, function, roles):
            new = ast.unparse(ast.Compare(node.left, [flipped], node.comparators))
            yield Change("comparison", function, node, new, f"{short(node)} becomes {new}")


def constant(function: Function, roles: Roles) -> Iterator[Change]:
    """Another number among the values."""
    for node in roles.computing():
        if isinstance(node, ast.Constant) and type(node.value) in (int, float):
            new = _other_number(node, function, roles)
            if new is not None and new != node.value:
                what = f"the constant {node.value!r} becomes {new!r}"
                yield Change("constant", function, node, repr(new), what)


def dropped_function(function: Function, roles: Roles) -> Iterator[Change]:
    """A function of a value is left out: exp(v) becomes v."""
    for node in roles.computing():
        if not (isinstance(node, ast.Call) and len(node.args) == 1 and not node.keywords):
            continue
        outside = {*_FORM, *REDUCTIONS, *LOADS, *STORES}
        method = isinstance(node.func, ast.Attribute) and roles.is_value(node.func.value)
        above = function.parents[node]
        unpacked = isinstance(above, ast.Assign) and not isinstance(above.targets[0], ast.Name)
        if called(node) in outside or method or unpacked or not roles.is_value(node.args[0]):
            continue
        what = f"{called(node)} is left out of {short(node)}"
        yield Change("dropped function", function, node, ast.unparse(node.args[0]), what)


def missing_step(function: Function, roles: Roles) -> Iterator[Change]:
    """What was summed before is forgotten; a factor or a divisor is left out."""
    for node in roles.computing():
        if isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add):
            if roles.is_value(node.value):
                new = f"{ast.unparse(node.target)} = {ast.unparse(node.value)}"
                what = f"{ast.unparse(node.target)} is set instead of added to"
                yield Change("missing step", function, node, new, what)
        elif isinstance(node, ast.Assign) and (kept := _added(node)):
            what = f"{ast.unparse(node.targets[0])} forgets what it was"
            yield Change("missing step", function, node.value, ast.unparse(kept), what)
        elif isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div | ast.Mult):
            both = roles.is_value(node.right) or isinstance(node.op, ast.Div)
            if roles.is_value(node.left) and both:
                role = "divisor" if isinstance(node.op, ast.Div) else "factor"
                what = f"the {role} {short(node.right)} is left out"
                yield Change("missing step", function, node, ast.unparse(node.left), what)
        elif isinstance(node, ast.Call) and called(node) in _DIVISIONS and len(node.args) == 2:
            what = f"the divisor {short(node.args[1])} is left out"
            yield Change("missing step", function, node, ast.unparse(node.args[0]), what)


def wrong_reduction(function: Function, roles: Roles) -> Iterator[Change]:
    """A maximum for a sum or the reverse; a mean over one element too many."""
    for node in roles.computing():
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Div):
            divided, by = node.left, node.right
        elif isinstance(node, ast.Call) and called(node) in _DIVISIONS and len(node.args) == 2:
            divided, by = node.args
        else:
            if isinstance(node, ast.Call) and (name := _reducer(node, function, roles)):
                other = _renamed(name, _OPPOSITE[last_name(name)])
                what = f"{last_name(name)} becomes {_OPPOSITE[last_name(name)]}"
                yield Change("wrong reduction", function, name, other, what)
            continue
        if isinstance(by, ast.Name) and function.is_number(by.id) and roles.is_value(divided):
            # Where rows are so wide that they are read in a loop, one more would not show.
            loops = any(isinstance(n, ast.For | ast.While) for n in ast.walk(function.node))
            more = f"{by.id} * 2" if loops else f"{by.id} + 1"
            what = f"the mean divides by {more}"
            yield Change("wrong reduction", function, by, more, what)


def _swapped_sides(node: ast.BinOp, function: Function, roles: Roles) -> str:
    hidden = isinstance(node.op, ast.Sub) and is_even(node, function)
    if hidden or not isinstance(node.op, ast.Sub | ast.Div) or not roles.is_value(node):
        return ""
    sign = "-" if isinstance(node.op, ast.Sub) else "/"
    return f"{text(node.right)} {sign} {text(node.left)}"


def _swapped_call(node: ast.Call, function: Function, roles: Roles) -> str:
    name, given = called(node), list(node.args)
    if not roles.is_value(node) or becomes_peak(node, function, roles):
        return ""
    if name in ("maximum", "minimum") and isinstance(node.func, ast.Attribute):
        given_text = ", ".join(map(ast.unparse, given))
        return f"{_renamed(node.func, _OPPOSITE[name])}({given_text})"
    if name == "where" and len(given) == 3:
        given[1], given[2] = given[2], given[1]
        swap = any(map(roles.is_value, given)) and not is_guard(given[0])
    elif len(given) >= 2 and name not in {*_FORM, *REDUCTIONS, *LOADS, *STORES}:
        both = all(map(roles.is_value, given[:2]))
        swap = both or (name in _DIVISIONS and roles.is_value(given[0]))
        given[0], given[1] = given[1], given[0]
    else:
        return ""
    if not swap or ast.unparse(given[0]) == ast.unparse(given[1]):
        return ""
    return ast.unparse(ast.Call(node.func, given, node.keywords))


def _other_number(node: ast.Constant, function: Function, roles: Roles) -> float | None:
    """What the constant becomes so that ordinary values show it, or None: leave it."""
    value = node.value
    assert isinstance(value, int | float)
    inner: ast.AST = node
    parent = function.parents[node]
    if isinstance(parent, ast.UnaryOp):
        inner, parent = parent, function.parents[parent]
    switched = type(value)(1 if value == 0 else 0)
    if isinstance(parent, ast.BinOp):
        other = parent.right if inner is parent.left else parent.left
        if not roles.is_value(other):
            return None
        if isinstance(parent.op, ast.Add | ast.Sub):
            return value + type(value)(1)
        return value * 0.5 if isinstance(parent.op, ast.Mult | ast.Div) else None
    if isinstance(parent, ast.Compare):
        equal = any(isinstance(op, ast.Eq | ast.NotEq | ast.Is | ast.IsNot) for op in parent.ops)
        seen = roles.is_value(parent) and not equal and not is_mask(parent, function, roles)
        return switched if seen else None
    if not (isinstance(parent, ast.Call) and isinstance(value, float)):
        return None
    if called(parent) == "full":
        target = function.parents[parent]
        name = last_name(target.targets[0]) if isinstance(target, ast.Assign) else ""
        seen = name in roles.values and not is_rescaled(name, function)
        return switched if seen else None
    if called(parent) in REDUCTIONS or not any(map(roles.is_value, parent.args)):
        return None
    guards = called(parent) == "where" and is_guard(parent.args[0])
    return None if guards else switched


def _reducer(node: ast.Call, function: Function, roles: Roles) -> ast.expr | None:
    """The name that says how a call reduces, where another would show."""
    if not any(map(roles.is_value, node.args)) or becomes_peak(node, function, roles):
        return None
    if called(node) == "reduce":
        return next((a for a in node.args if last_name(a) in ("maximum", "minimum")), None)
    plain = {k.arg for k in node.keywords} <= {"axis", "keep_dims"}
    method = isinstance(node.func, ast.Attribute) and roles.is_value(node.func.value)
    named = called(node) in ("max", "sum", "min") and plain and not method
    return node.func if named else None


def _renamed(name: ast.expr, new: str) -> str:
    if isinstance(name, ast.Attribute):
        return f"{ast.unparse(name.value)}.{new}"
    return new


def _added(node: ast.Assign) -> ast.expr | None:
    """For `a = a * c + v`: v. The part of a sum that doesn't hold the target's old value."""
    target, value = node.targets[0], node.value
    if not (isinstance(target, ast.Name) and isinstance(value, ast.BinOp)):
        return None
    if not isinstance(value.op, ast.Add):
        return None
    holds = [
        any(isinstance(n, ast.Name) and n.id == target.id for n in ast.walk(side))
        for side in (value.left, value.right)
    ]
    if holds == [True, False]:
        return value.right
    return value.left if holds == [False, True] else None
