"""What annotations, tensors' methods and functions of torch give."""

from __future__ import annotations

import ast
from collections.abc import Callable

from workbench.judge.scan import tensors
from workbench.judge.scan.values import (
    ANY,
    CONTEXT,
    DATA,
    NONE,
    TENSOR,
    Value,
    Values,
    contained,
    elements,
    union,
)

LIMITS = "the limits of a dtype"
_PLAIN = {f"torch.{name}" for name in "dtype device Size layout memory_format SymInt".split()}


def annotation(node: ast.expr, value: Callable[[ast.AST], Values]) -> Values:
    """What has the annotation `node`; anything where it doesn't say."""
    match node:
        case ast.Constant(None):
            return NONE
        case ast.Name() | ast.Attribute():
            return union(map(annotated, value(node))) or ANY
        case ast.BinOp(left, ast.BitOr(), right):
            return annotation(left, value) | annotation(right, value)
        case ast.Subscript(base, index):
            names = {v.name.rpartition(".")[2] for v in value(base)}
            return _generic(names, index, value)
        case _:
            return ANY


def annotated(value: Value) -> Values:
    """What has the annotation `value`."""
    name = value.name
    if value.kind == "class":
        return frozenset({Value("object", value.name, value.node)})
    if value.kind != "name":
        return ANY
    if name in ("torch.Tensor", "torch.nn.Parameter", "torch.nn.parameter.Parameter"):
        return TENSOR
    if name in ("builtins.list", "builtins.tuple", "builtins.dict", "builtins.set"):
        return contained(ANY)
    if name in ("builtins.object", "builtins.type"):
        return ANY
    if name.startswith("torch.autograd.function."):
        return CONTEXT
    return DATA if name.startswith("builtins.") or name in _PLAIN else ANY


def _generic(names: set[str], index: ast.expr, value: Callable[[ast.AST], Values]) -> Values:
    parts = index.elts if isinstance(index, ast.Tuple) else [index]
    known = [annotation(part, value) for part in parts if not _is_ellipsis(part)]
    if names & {"Callable", "type", "Type", "Generic"}:
        return ANY
    if "Literal" in names:
        return DATA
    if names & {"Optional", "Union", "Annotated", "Final", "ClassVar"}:
        return union(known) | (NONE if "Optional" in names else frozenset())
    if names & {"dict", "Mapping", "Dict", "defaultdict"}:
        known = known[-1:]
    return contained(union(known))


def of_container(value: Value, name: str) -> Values:
    """A method of a container; calling it takes one container away."""
    if name in ("get", "pop", "setdefault", "popleft"):
        return frozenset({value})
    if name in ("values", "copy"):
        return contained(frozenset({value}))
    if name == "items":
        return contained(contained(contained(elements(frozenset({value})) | DATA)))
    return ANY


def of_tensor(name: str) -> Values:
    """An attribute of a tensor."""
    if name in ("T", "mT", "H", "mH", "data", "grad"):
        return TENSOR
    data = {"shape", "dtype", "device", "ndim", "itemsize", "nbytes", "layout", "requires_grad"}
    if name in data | {"is_cuda", "is_cpu", "is_meta", "is_leaf", "is_sparse", "is_nested"}:
        return DATA
    return frozenset({Value("method", name)})


def of_method(name: str) -> Values:
    """What a tensor's method returns."""
    if name in tensors.SPLITS:
        return contained(TENSOR)
    if name in tensors.DESCRIBES or name in ("item", "tolist", "data_ptr", "numpy"):
        return DATA
    return TENSOR


def of_torch(name: str) -> Values:
    """What a function of torch returns: a tensor if it makes or views one."""
    leaf = name.removeprefix("torch.")
    if leaf in tensors.MAKERS or leaf in tensors.VIEWS:
        return TENSOR
    if leaf in ("finfo", "iinfo"):
        return frozenset({Value("data", LIMITS)})
    return DATA if leaf in ("device", "Size", "broadcast_shapes") else ANY


def _is_ellipsis(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value is ...
