"""The same program in other words: tests of behaviour can't tell, tests of the text can."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Mapping

_SEES_NAMES = frozenset({"locals", "vars", "eval", "exec", "dir"})


def neutral(files: Mapping[str, str]) -> dict[str, str]:
    """The files with comments and layout gone, lines moved and local variables renamed."""
    return {name: _reworded(source) for name, source in files.items()}


def _reworded(source: str) -> str:
    tree = ast.parse(source)
    kept = _module_names(tree) | set(dir(builtins))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            _rename_locals(node, kept)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            node.body.insert(1 if ast.get_docstring(node) is not None else 0, ast.Pass())
    # Below where the original ends: no line keeps its number.
    above = "\n" * (source.count("\n") + 1)
    return above + ast.unparse(ast.fix_missing_locations(tree)) + "\n"


def _module_names(tree: ast.Module) -> set[str]:
    """Every name bound outside functions, or in them on behalf of the module."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            found |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Global | ast.Nonlocal):
            found |= set(node.names)
    for statement in tree.body:
        if not isinstance(statement, ast.FunctionDef | ast.ClassDef):
            found |= {n.id for n in ast.walk(statement) if isinstance(n, ast.Name)}
    return found


def _rename_locals(function: ast.FunctionDef, kept: set[str]) -> None:
    """Rename what the function binds itself: not its parameters, whose names are its interface."""
    inner = list(ast.walk(function))
    nested = any(isinstance(n, ast.FunctionDef | ast.ClassDef) for n in inner if n is not function)
    used = [n for n in inner if isinstance(n, ast.Name)]
    if nested or any(n.id in _SEES_NAMES for n in used):
        return
    passed = {n.arg for n in inner if isinstance(n, ast.arg)}
    caught = {n.name for n in inner if isinstance(n, ast.ExceptHandler) and n.name}
    stored = {n.id for n in used if isinstance(n.ctx, ast.Store)} - passed - caught - kept
    taken = {n.id for n in used} | passed | kept
    new = {name: _unlike(name, taken) for name in sorted(stored)}
    for n in used:
        n.id = new.get(n.id, n.id)


def _unlike(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name
