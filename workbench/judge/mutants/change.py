"""One change to a candidate, and the text of the file it leaves."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass

from workbench.judge.mutants.program import Function


@dataclass(frozen=True)
class Program:
    """The candidate's functions, and the constants its wrapper gives parameters by default."""

    functions: tuple[Function, ...]
    defaults: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class Change:
    """`node` of a function becomes `new`, text that can stand wherever the node does."""

    kind: str
    function: Function
    node: ast.expr | ast.stmt
    new: str
    description: str


def text(node: ast.AST) -> str:
    """The node as it can stand in any expression."""
    plain = ast.unparse(node)
    atom = isinstance(node, ast.Name | ast.Constant | ast.Call | ast.Attribute | ast.Subscript)
    return plain if atom else f"({plain})"


def short(node: ast.AST) -> str:
    """The node for a description, on part of a line."""
    plain = " ".join(ast.unparse(node).split())
    return plain if len(plain) <= 48 else f"{plain[:47]}…"


def apply(change: Change, source: str) -> str:
    """The source with the change made in place, so that all other lines stay as they are."""
    node = change.node
    assert node.end_lineno is not None and node.end_col_offset is not None
    lines = source.encode().splitlines(keepends=True)
    # `ast` counts columns in bytes.
    before = b"".join(lines[: node.lineno - 1]) + lines[node.lineno - 1][: node.col_offset]
    after = lines[node.end_lineno - 1][node.end_col_offset :] + b"".join(lines[node.end_lineno :])
    new = f"({change.new})" if isinstance(node, ast.expr) else change.new
    return (before + new.encode() + after).decode()
