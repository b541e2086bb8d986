"""A copy of a forward in which a sum and the norm of it are one call.

The source is changed and compiled, with the file's name and the lines as they are, so that a
traceback and a debugger show the model's own text. Where the source is not that of the function
that runs (it is compared, compiled), or is not to be had, nothing is changed.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable, Iterator
from functools import cache
from types import CellType, CodeType, FunctionType
from typing import Any

from torch import nn

from workbench_kernels.patching.functions import definition, remade, with_code

# Gives the norm of a sum, and the sum, of the norm and the two that are added.
AddNorm = Callable[[nn.Module, Any, Any], tuple[Any, Any]]
_ADD_NORM, _NORMED = "_workbench_add_norm", "_workbench_normed"


class Rewritten:
    """The forward of a class, in which `add_norm(norm, one, other)` makes the sums that the norms
    of these names are called with.

    Pickled and copied by what it is made of; instances alike share one, so that `torch.compile`
    compiles it once.
    """

    def __init__(self, owner: type[nn.Module], names: tuple[str, ...], add_norm: AddNorm) -> None:
        self._made_of = (owner, names, add_norm)
        self.forward = remade(owner.forward, lambda inner: _rewrite(inner, names, add_norm))

    def __reduce__(self) -> tuple[Any, ...]:
        return rewritten, self._made_of


_REWRITTEN: dict[tuple[Any, ...], Rewritten] = {}


def rewritten(owner: type[nn.Module], names: tuple[str, ...], add_norm: AddNorm) -> Rewritten:
    """The one there is, or a new one.

    Raises:
        TypeError: the forward is none that can be copied.
    """
    key = (owner, owner.forward, names, add_norm)
    if key not in _REWRITTEN:
        _REWRITTEN[key] = Rewritten(owner, names, add_norm)
    return _REWRITTEN[key]


@cache
def normed_sums(forward: Callable[..., Any]) -> tuple[str, ...]:
    """The modules, by their names below self, that a forward calls with a sum it has just made."""
    function = inspect.unwrap(forward)
    parsed = _parsed(function) if isinstance(function, FunctionType) else None
    return () if parsed is None else tuple(dict.fromkeys(_fuse(parsed, None)))


def _rewrite(function: FunctionType, names: tuple[str, ...], add_norm: AddNorm) -> FunctionType:
    parsed = _parsed(function)
    if parsed is None or not set(names) <= set(_fuse(parsed, names)):
        raise TypeError("the source of its forward is another by now")
    return with_code(function, _compiled(parsed, function), [CellType(add_norm)])


def _parsed(function: FunctionType) -> ast.FunctionDef | None:
    """The function, without what is evaluated where it is defined; None if it needs a closure, or
    if this is not what runs.
    """
    code = function.__code__
    if code.co_freevars:
        return None
    found = definition(function)
    if found is None:
        return None
    ast.increment_lineno(found, code.co_firstlineno - 1)
    found.decorator_list, found.returns = [], None
    given = found.args
    given.defaults, given.kw_defaults = [], [None] * len(given.kwonlyargs)
    for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs, given.vararg, given.kwarg):
        if argument is not None:
            argument.annotation = None
    again = _compiled(found, function)
    facts = ("co_code", "co_names", "co_varnames")
    alike = all(getattr(again, fact) == getattr(code, fact) for fact in facts)
    return found if alike else None


def _compiled(parsed: ast.FunctionDef, function: FunctionType) -> CodeType:
    """Its code, in which the name of `add_norm` is a variable of the surroundings."""
    (around,) = ast.parse(f"def around({_ADD_NORM}): pass").body
    assert isinstance(around, ast.FunctionDef)
    around.body = [parsed]
    tree = ast.fix_missing_locations(ast.Module([around], []))
    code = compile(tree, function.__code__.co_filename, "exec", dont_inherit=True)
    return _within(_within(code)).replace(co_qualname=function.__code__.co_qualname)


def _within(code: CodeType) -> CodeType:
    """The function that is defined in it."""
    return next(const for const in code.co_consts if isinstance(const, CodeType))


def _fuse(parsed: ast.FunctionDef, names: tuple[str, ...] | None) -> Iterator[str]:
    """Make one call of every sum and the norm of it, or of the norms of these names; gives each."""
    for node in list(ast.walk(parsed)):
        for field in ("body", "orelse", "finalbody"):
            block = getattr(node, field, None)
            if isinstance(block, list):
                yield from _fuse_block(block, names)


def _fuse_block(block: list[ast.stmt], names: tuple[str, ...] | None) -> Iterator[str]:
    for place, statement in enumerate(block):
        total = _assigned(statement)
        if total is None or not isinstance(statement, ast.Assign) or not _is_sum(statement):
            continue
        after = _after_aliases(block, place + 1, total)
        name = None if after is None else _norm_of(after, total)
        if after is None or name is None or not (names is None or name in names):
            continue
        _make_one(statement, after, total)
        yield name


def _make_one(adds: ast.Assign, norms: ast.Assign, total: str) -> None:
    """`total = a + b` and `y = self.norm(total)`: the first gives both."""
    assert isinstance(adds.value, ast.BinOp) and isinstance(norms.value, ast.Call)
    both: list[ast.expr] = [ast.Name(_NORMED, ast.Store()), ast.Name(total, ast.Store())]
    given = [norms.value.func, adds.value.left, adds.value.right]
    call = ast.Call(ast.Name(_ADD_NORM, ast.Load()), given, [])
    adds.targets = [ast.Tuple(both, ast.Store())]
    adds.value = ast.copy_location(call, adds.value)
    norms.value = ast.copy_location(ast.Name(_NORMED, ast.Load()), norms.value)


def _assigned(statement: ast.stmt) -> str | None:
    """The name that a statement assigns, if that is all it does."""
    if not isinstance(statement, ast.Assign) or len(statement.targets) > 1:
        return None
    target = statement.targets[0]
    return target.id if isinstance(target, ast.Name) else None


def _is_sum(statement: ast.Assign) -> bool:
    return isinstance(statement.value, ast.BinOp) and isinstance(statement.value.op, ast.Add)


def _after_aliases(block: list[ast.stmt], place: int, total: str) -> ast.Assign | None:
    """The first statement from there on that does more than give something another name."""
    for statement in block[place:]:
        name = _assigned(statement)
        if not isinstance(statement, ast.Assign) or name is None:
            return None
        if not isinstance(statement.value, ast.Name) or name == total:
            return statement
    return None


def _norm_of(statement: ast.Assign, total: str) -> str | None:
    """What a statement calls with the total and nothing else, as `norm` of `self.norm`."""
    call = statement.value
    if not isinstance(call, ast.Call) or call.keywords:
        return None
    given = [ast.unparse(argument) for argument in call.args]
    called = ast.unparse(call.func)
    if given != [total] or not called.startswith("self."):
        return None
    return called.removeprefix("self.")
