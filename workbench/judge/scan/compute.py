"""Rules on work: tensors are computed with in kernels, and their values are read nowhere else."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from workbench.judge.scan.finding import Finding, shown
from workbench.judge.scan.names import LIBRARY
from workbench.judge.scan.program import KERNELS
from workbench.judge.scan.values import Values, elements, holds_tensors, may_be_tensor
from workbench.judge.scan.view import View

_KERNEL = "compute it in a @triton.jit kernel"
# Functions that compute with tensors they are given, or read them.
_COMPUTE = {f"builtins.{name}" for name in ("abs", "pow", "round", "divmod", "sum", "max", "min")}
_READ = {
    f"builtins.{name}"
    for name in (
        "bool int float complex str repr format any all list tuple set sorted bytes range".split()
    )
}
_ADD_UP = {
    *("builtins.sum functools.reduce math.prod math.fsum builtins.map".split()),
    *("itertools.starmap itertools.accumulate".split()),
}
# What may be called of triton.language outside a kernel: it makes types and constants.
_HOST_LANGUAGE = {"constexpr", "dtype", "block_type", "pointer_type", "constexpr_type"}
_ASKS_ABOUT = {f"builtins.{name}" for name in ("isinstance", "hasattr", "getattr", "callable")}
_TAKES_KERNELS = ("triton.", "torch.library.", f"{LIBRARY}.jit.")


def arithmetic(view: View) -> Iterator[Finding]:
    """No operators on tensors outside a kernel."""
    for node in view.all:
        if _is_elsewhere(view, node):
            continue
        match node:
            case ast.BinOp(left, _, right) | ast.AugAssign(left, _, right):
                operands: list[ast.expr] = [left, right]
            case ast.UnaryOp(operator, operand) if not isinstance(operator, ast.Not):
                operands = [operand]
            case ast.Compare(left, operators, others) if _compares(operators, others):
                operands = [left, *others]
            case ast.Subscript(_, index):
                operands = [*index.elts] if isinstance(index, ast.Tuple) else [index]
            case _:
                continue
        known = (operand for operand in operands if may_be_tensor(view.value(operand)))
        if tensor := next(known, None):
            why = f"computes with the tensor {shown(tensor)}, outside a Triton kernel; {_KERNEL}"
            yield view.finding(node, "torch-compute", f"{shown(node)} {why}")


def values(view: View) -> Iterator[Finding]:
    """No decision on a tensor's values."""
    for node in view.all:
        if _is_elsewhere(view, node):
            continue
        match node:
            case ast.BoolOp(_, asked):
                pass
            case ast.UnaryOp(ast.Not(), asked_one) | ast.FormattedValue(asked_one):
                asked = [asked_one]
            case ast.If(asked_one) | ast.While(asked_one) | ast.IfExp(asked_one):
                asked = [asked_one]
            case ast.Assert(asked_one):
                asked = [asked_one]
            case ast.comprehension(_, _, asked):
                pass
            case _:
                continue
        if _in_error(view, node):
            continue
        for tensor in filter(view.is_tensor, asked):
            yield _reading(view, tensor, shown(tensor))


def calls(view: View) -> Iterator[Finding]:
    """No function outside a kernel that computes with a tensor, or reads it."""
    for call in view.nodes(ast.Call):
        if _is_elsewhere(view, call):
            continue
        given = [*call.args, *(keyword.value for keyword in call.keywords)]
        tensors = [argument for argument in given if view.is_tensor(argument)]
        containers = [argument for argument in given if holds_tensors(view.value(argument))]
        formats = isinstance(call.func, ast.Attribute) and call.func.attr == "format"
        if tensors and formats and not _in_error(view, call):
            yield _reading(view, call, shown(call))
        for origin in sorted(view.origins(call.func)):
            adds = origin in _ADD_UP and bool(containers) and not _maps_own(view, origin, call)
            if adds or (tensors and (origin in _COMPUTE or origin.startswith("operator."))):
                why = f"computes with tensors, outside a Triton kernel; {_KERNEL}"
                yield view.finding(call, "torch-compute", f"{shown(call)} {why}")
            elif tensors and (origin in _READ or origin.startswith("math.")):
                yield _reading(view, call, shown(call))


def disguises(view: View) -> Iterator[Finding]:
    """No tensor is passed where a parameter is declared a plain number."""
    for given, parameters in view.program.given.items():
        if given in view.module.scopes and view.is_tensor(given):
            plain = {p.arg for p in parameters if _is_plain(view.program.annotated(p))}
            for name in sorted(plain):
                why = f"is a tensor, and {name} is declared to be none; declare a Tensor"
                yield view.finding(given, "torch-compute", f"{shown(given)} {why}")


def _is_plain(declared: Values) -> bool:
    """Whether a declaration speaks of numbers, strings or None alone."""
    kinds = {value.kind for value in declared}
    return bool(kinds) and kinds <= {"data", "none"}


def kernel_calls(view: View) -> Iterator[Finding]:
    """A kernel is launched as kernel[grid](...); its body is not run as Python."""
    why = "runs a @triton.jit function as Python; launch it as kernel[grid](...)"
    for call in view.nodes(ast.Call):
        if view.in_kernel(call):
            continue
        values = view.value(call.func)
        is_kernel = any(value.kind == "kernel" and not value.depth for value in values)
        if is_kernel or any(map(_is_device_function, view.origins(call.func))):
            yield view.finding(call, "kernel-call", f"{shown(call)} {why}")
        origins = view.origins(call.func)
        if not origins or any(origin.startswith(_TAKES_KERNELS) for origin in origins):
            continue
        given_on = "functools.partial" in origins and _is_function(view, call.args[0])
        if given_on or origins <= _ASKS_ABOUT:
            continue
        for given in [*call.args, *(k.value for k in call.keywords if k.arg == "key")]:
            values = view.value(given)
            if isinstance(given, ast.Starred):
                values = elements(view.value(given.value))
            if any(value.kind == "kernel" and not value.depth for value in values):
                yield view.finding(given, "kernel-call", f"{shown(call)} {why}")


def wrapped_kernels(view: View) -> Iterator[Finding]:
    """A function that `jit(...)` was called on is nothing but a kernel."""
    for node in view.nodes(ast.Name):
        for value in view.value(node):
            if value.kind != "function" or value.node not in view.program.kernels or value.depth:
                continue
            around = view.module.parents[node]
            wraps = isinstance(around, ast.Call) and bool(KERNELS & view.origins(around.func))
            if isinstance(node.ctx, ast.Load) and not wraps and not view.in_kernel(node):
                why = f"uses {node.id}, which jit makes a kernel, as a Python function too"
                yield view.finding(node, "kernel-call", f"{why}; write two functions")


def _is_elsewhere(view: View, node: ast.AST) -> bool:
    """Whether tensors may be computed with here: in kernels, or where parameters are filled."""
    return view.in_kernel(node) or view.fills_parameters(node)


def _is_function(view: View, node: ast.expr) -> bool:
    """Whether it is a function of the file, or an op: what it does is seen where it is defined."""
    values = [value for value in view.value(node) if value.kind != "state"]
    own = all(v.kind in ("function", "op") and not v.depth for v in values)
    return bool(values) and own and not any(v.node in view.program.cached for v in values)


def _maps_own(view: View, origin: str, call: ast.Call) -> bool:
    return origin == "builtins.map" and _is_function(view, call.args[0])


def _in_error(view: View, node: ast.AST) -> bool:
    """Whether it is in an error that is raised: that may show what it is about."""
    return any(isinstance(around, ast.Raise) for around in view.module.ancestors(node))


def _compares(operators: list[ast.cmpop], others: list[ast.expr]) -> bool:
    """Whether a comparison looks at elements: not `is`, nor with None."""
    same = all(isinstance(operator, (ast.Is, ast.IsNot)) for operator in operators)
    none = any(isinstance(other, ast.Constant) and other.value is None for other in others)
    return not same and not none


def _is_device_function(origin: str) -> bool:
    if origin.startswith("triton.language."):
        return origin.rpartition(".")[2] not in _HOST_LANGUAGE
    return origin.startswith(f"{LIBRARY}.numerics.")


def _reading(view: View, node: ast.AST, what: str) -> Finding:
    why = "reads the tensor's values on the host, which waits for the GPU and lets results hang on"
    return view.finding(
        node, "value-read", f"{what} {why} values; decide by shape, dtype and device only"
    )
