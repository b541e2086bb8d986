"""Which changes ordinary values don't show: no test could be asked to notice them."""

from __future__ import annotations

import ast

from workbench.judge.mutants.program import Function, called, last_name
from workbench.judge.mutants.roles import Roles, is_peak

_EVEN = frozenset({"abs", "square", "cosh"})


def cancels(node: ast.expr, roles: Roles) -> bool:
    """Whether what is subtracted is a row's maximum, as in softmax: dividing removes it again."""
    return last_name(node) in roles.peaks or is_peak(node)


def becomes_peak(node: ast.AST, function: Function, roles: Roles) -> bool:
    """Whether the result is a maximum that is subtracted before `exp`: any other does as well."""
    while isinstance(node, ast.expr) and node in function.parents:
        above = function.parents[node]
        if isinstance(above, ast.BinOp) and isinstance(above.op, ast.Sub) and above.right is node:
            return is_peak(node)
        node = above
    if not (isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)):
        return False
    name = node.targets[0].id
    return name in roles.peaks and any(
        isinstance(n, ast.BinOp) and isinstance(n.op, ast.Sub) and last_name(n.right) in roles.peaks
        for n in ast.walk(function.node)
    )


def is_mask(node: ast.AST, function: Function, roles: Roles) -> bool:
    """Whether a comparison is assigned to a name that takes part in a mask."""
    while isinstance(node, ast.expr) and node in function.parents:
        node = function.parents[node]
    return isinstance(node, ast.Assign) and last_name(node.targets[0]) in roles.masks


def is_even(node: ast.expr, function: Function) -> bool:
    """Whether only the size of the difference counts: it is squared, or its sign removed."""
    parent = function.parents[node]
    if called(parent) in _EVEN:
        return True
    if not (isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name)):
        return False
    name = parent.targets[0].id
    return all(called(use) in _EVEN or _squares(use, name) for use in _uses(name, function))


def is_compared(node: ast.expr, function: Function) -> bool:
    """Whether a value is only compared with others, so that nearly the same is as good."""
    parent = function.parents[node]
    if not (isinstance(parent, ast.Assign) and isinstance(parent.targets[0], ast.Name)):
        return isinstance(parent, ast.Compare)
    uses = _uses(parent.targets[0].id, function)
    return all(isinstance(use, ast.Compare) for use in uses)


def is_rescaled(name: str, function: Function) -> bool:
    """Whether a sum is multiplied before each step: by 0 before the first, so any start will do."""
    return any(
        isinstance(use, ast.BinOp)
        and isinstance(use.op, ast.Mult)
        and isinstance(above := function.parents[use], ast.BinOp)
        and isinstance(target := function.parents[above], ast.Assign)
        and last_name(target.targets[0]) == name
        for use in _uses(name, function)
    )


def _uses(name: str, function: Function) -> list[ast.AST]:
    """The nodes that a name is read in."""
    reads = (n for n in ast.walk(function.node) if isinstance(n, ast.Name) and n.id == name)
    return [function.parents[n] for n in reads if isinstance(n.ctx, ast.Load)]


def _squares(node: ast.AST, name: str) -> bool:
    return (
        isinstance(node, ast.BinOp)
        and isinstance(node.op, ast.Mult)
        and last_name(node.left) == last_name(node.right) == name
    )
