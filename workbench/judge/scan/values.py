"""What an expression may stand for, as far as the source tells."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal

Kind = Literal[
    "name",  # something imported or built in: `name` is its dotted origin
    "tensor",
    "method",  # of a tensor: `name` says which
    "function", "class", "object",  # defined in the file: `node`; an object is a class's instance
    "kernel", "launch",  # a @triton.jit function; `kernel[grid]`
    "op", "library",  # a registered op, implemented by `node`; a torch.library.Library
    "decorator",  # what a call of the decorator factory `name` gave
    "state",  # what outlives a call and can be changed: `name` says where it lives
    "context",  # autograd's `ctx`
    "data",  # numbers, strings, shapes, dtypes
    "none",
    "any",
]  # fmt: skip
_DEEPEST = 4


@dataclass(frozen=True)
class Value:
    """One possibility. `depth` counts the containers it is in: 1 for a list of it, and so on;
    `filled` the first parameters of a function that functools.partial has filled.
    """

    kind: Kind
    name: str = ""
    node: ast.AST | None = None
    depth: int = 0
    filled: int = 0


Values = frozenset[Value]
NOTHING: Values = frozenset()
ANY, DATA, NONE = (frozenset({Value(kind)}) for kind in ("any", "data", "none"))
TENSOR, CONTEXT = frozenset({Value("tensor")}), frozenset({Value("context")})


def union(parts: Iterable[Values]) -> Values:
    """All possibilities of all parts."""
    return NOTHING.union(*parts)


def contained(values: Values) -> Values:
    """A container of the values."""
    return frozenset(replace(v, depth=min(v.depth + 1, _DEEPEST)) for v in values)


def elements(values: Values) -> Values:
    """What indexing or iterating gives."""
    return union(_elements(value) for value in values)


def is_tensor(values: Values) -> bool:
    """Whether it can't be but a tensor, or None."""
    known = {value for value in values if value.kind not in ("none", "state")}
    return bool(known) and all(v.kind == "tensor" and not v.depth for v in known)


def may_be_tensor(values: Values) -> bool:
    """Whether it is a tensor as far as anything is known of it."""
    return is_tensor(values - ANY)


def holds_tensors(values: Values) -> bool:
    """Whether it is a tensor or a container of nothing else."""
    known = {value for value in values if value.kind not in ("none", "state")}
    return bool(known) and all(value.kind == "tensor" for value in known)


def _elements(value: Value) -> Values:
    if value.depth:
        return frozenset({replace(value, depth=value.depth - 1)})
    match value.kind:
        case "kernel":
            return frozenset({Value("launch", node=value.node)})
        case "tensor" | "state" | "data":
            return frozenset({value})
        case "none":
            return NOTHING
        case _:
            return ANY
