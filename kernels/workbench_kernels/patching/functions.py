"""A forward that calls other functions than the globals it names, for one instance only.

Attention calls its rotary function as a global of its file. That global serves every model there
is, so it is left alone: an instance gets a copy of its class's forward whose globals are its own,
and in them another function under that name. The copy has the globals of the time it was made: if
one of them is replaced later, a patched instance doesn't see it.
"""

from __future__ import annotations

import ast
import dis
import inspect
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from types import CellType, CodeType, FunctionType
from typing import Any

from torch import nn

from workbench_kernels.patching.instance import SETTINGS

Options = Mapping[str, Any]
# Makes of a function, and of what was proven of it, the one that is called in its place.
Replace = Callable[[Any, Options], Callable[..., Any]]


class Rebound:
    """The forward of a class, with `replace(function, options[name])` for each global so named.

    Pickled and copied by what it is made of; instances alike share one, so that `torch.compile`
    compiles it once.
    """

    def __init__(self, owner: type[nn.Module], replace: Replace, options: Mapping[str, Options]):
        self._made_of = (owner, replace, options)
        known = named_globals(owner.forward)
        self.seen, self.options = known, options
        others = {name: replace(known[name], options[name]) for name in options}
        self.forward = remade(owner.forward, lambda inner: _with_globals(inner, known | others))

    def __reduce__(self) -> tuple[Any, ...]:
        return rebound, self._made_of


_ASSIGN = ("STORE_GLOBAL", "DELETE_GLOBAL")
_REBOUND: dict[tuple[Any, ...], Rebound] = {}


def rebound(owner: type[nn.Module], replace: Replace, options: Mapping[str, Options]) -> Rebound:
    """The one there is, unless globals it has seen are others by now; or a new one."""
    key = (owner, owner.forward, replace, repr(options))
    found = _REBOUND.get(key)
    if found is None or not _same(found.seen, named_globals(owner.forward)):
        found = _REBOUND[key] = Rebound(owner, replace, options)
    return found


def rebound_forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
    """The bound forward of an instance whose settings are a `Rebound`."""
    return self.__dict__[SETTINGS].forward(self, *args, **kwargs)


def copied_with(function: FunctionType, others: Mapping[str, Any]) -> FunctionType:
    """A copy of this very function, whatever it wraps, to which these globals are others."""
    return _copy(function, {**function.__globals__, **others}, function.__closure__)


def named_globals(function: Callable[..., Any]) -> dict[str, Any]:
    """The globals that a function, under its decorators, names; not builtins."""
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
    known = getattr(function, "__globals__", {})
    names = _names(function.__code__) if isinstance(function, FunctionType) else ()
    return {name: known[name] for name in dict.fromkeys(names) if name in known}


def definition(function: Callable[..., Any]) -> ast.FunctionDef | None:
    """The source of a function, under its decorators; None where there is none to be had."""
    try:
        source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
        (found,) = ast.parse(source).body
    except (OSError, TypeError, SyntaxError, ValueError):  # it has no source, or several functions
        return None
    return found if isinstance(found, ast.FunctionDef) else None


def _names(code: CodeType) -> Iterator[str]:
    for step in dis.get_instructions(code):
        if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
            yield step.argval
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _names(const)


def _same(seen: Mapping[str, Any], now: Mapping[str, Any]) -> bool:
    return seen.keys() == now.keys() and all(seen[name] is now[name] for name in seen)


def remade(function: Any, make: Callable[[FunctionType], FunctionType]) -> FunctionType:
    """What `make` makes of a function; under decorators of functools.wraps, which are copied around
    it.

    Raises:
        TypeError: it is no function of Python, or a decorator doesn't hold it in its closure.
    """
    if not isinstance(function, FunctionType):
        raise TypeError(f"its forward is a {type(function).__name__}, which can't be copied")
    inner = getattr(function, "__wrapped__", None)
    if inner is None:
        return make(function)
    cells = function.__closure__ or ()
    holds = [_content(cell) is inner for cell in cells]
    if not any(holds):
        raise TypeError("a decorator of its forward can't be copied")
    copy = remade(inner, make)
    closure = tuple(
        CellType(copy) if held else cell for held, cell in zip(holds, cells, strict=True)
    )
    decorated = _copy(function, function.__globals__, closure)
    decorated.__dict__["__wrapped__"] = copy
    return decorated


def with_code(function: FunctionType, code: CodeType, cells: Sequence[CellType]) -> FunctionType:
    """A copy with other code, which has these variables of its surroundings."""
    return _copy(function, function.__globals__, tuple(cells), code)


def _with_globals(function: FunctionType, known: dict[str, Any]) -> FunctionType:
    if any(step.opname in _ASSIGN for step in dis.get_instructions(function)):
        raise TypeError("its forward assigns globals")
    # Without __name__: by that, torch.compile would look globals up in the file after all.
    scope = {**known, "__builtins__": function.__globals__["__builtins__"]}
    return _copy(function, scope, function.__closure__)


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # it is empty
        return None


def _copy(
    function: FunctionType,
    scope: dict[str, Any],
    closure: tuple[CellType, ...] | None,
    code: CodeType | None = None,
) -> FunctionType:
    code = code or function.__code__
    copy = FunctionType(code, scope, function.__name__, function.__defaults__, closure)
    copy.__kwdefaults__ = function.__kwdefaults__
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    copy.__doc__, copy.__annotations__ = function.__doc__, function.__annotations__
    copy.__dict__.update(function.__dict__)
    return copy
