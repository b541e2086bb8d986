"""Changes to which elements a kernel reads and writes; all of them stay inside the tensors."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from workbench.judge.mutants.change import Change, short, text
from workbench.judge.mutants.program import Function, called
from workbench.judge.mutants.roles import LOADS, Roles


def dropped_tail(function: Function, roles: Roles) -> Iterator[Change]:
    """The last element, row or column is left out: everywhere, or in one load."""
    everywhere: dict[ast.Compare, str] = {}
    for a in roles.accesses:
        if a.mask is None:
            continue
        bounds = {bound: _shorter(bound, roles) for bound in roles.bounds(a.mask)}
        bounds = {bound: new for bound, new in bounds.items() if new}
        everywhere |= bounds
        if called(a.call) in LOADS and not isinstance(a.mask, ast.Compare):
            for new in bounds.values():
                what = f"{a.tensor} is read only where {new}"
                both = f"{text(a.mask)} & ({new})"
                yield Change("dropped tail", function, a.mask, both, what)
    for bound, new in everywhere.items():
        what = f"the bound {short(bound)} becomes {new}"
        yield Change("dropped tail", function, bound, new, what)


def stride(function: Function, roles: Roles) -> Iterator[Change]:
    """Rows lie one element too near each other."""
    for node in dict.fromkeys(roles.placing()):
        if not (isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)):
            continue
        for position, size in ((node.left, node.right), (node.right, node.left)):
            if (
                isinstance(size, ast.Name)
                and function.is_number(size.id)
                and roles.is_position(position)
            ):
                # A stride of 0 stays 0: a negative one would lead out of the tensor.
                new = f"{text(position)} * ({size.id} - ({size.id} > 0))"
                what = f"the stride {size.id} is one less"
                yield Change("stride", function, node, new, what)


def _shorter(bound: ast.Compare, roles: Roles) -> str:
    """`a < n` with one less than n, or nothing for other comparisons."""
    if len(bound.ops) != 1:
        return ""
    low, high = bound.left, bound.comparators[0]
    if isinstance(bound.ops[0], ast.Gt | ast.GtE):
        low, high = high, low
    ordered = isinstance(bound.ops[0], ast.Lt | ast.LtE | ast.Gt | ast.GtE)
    if not ordered or roles.is_position(high) or not roles.is_position(low):
        return ""
    sign = "<" if isinstance(bound.ops[0], ast.Lt | ast.Gt) else "<="
    return f"{text(low)} {sign} {text(high)} - 1"
