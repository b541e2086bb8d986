"""Changes outside the kernels: gradients returned, grids, parameters passed on, refusals."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from workbench.judge.mutants.change import Change, Program, short
from workbench.judge.mutants.program import Function, called, last_name

# Whether or not the file imports it: a mutant that stumbles over a name says nothing of the tests.
_TORCH = '__import__("torch")'
_EACH = f"{_TORCH}.utils._pytree.tree_map_only({_TORCH}.Tensor, {{}}, {{}})"
# Of these, and None, declarations are made that speak of no tensor.
_PLAIN = frozenset({"int", "float", "bool", "str", "tuple", "list", "dict"})


def missing_gradient(function: Function, program: Program) -> Iterator[Change]:
    """A gradient is returned as zeros."""
    for node in _returned(function):
        new = _EACH.format(f"{_TORCH}.zeros_like", ast.unparse(node))
        what = f"{short(node)} is returned as zeros"
        yield Change("missing gradient", function, node, new, what)


def doubled_gradient(function: Function, program: Program) -> Iterator[Change]:
    """A gradient is returned twice as large."""
    for node in _returned(function):
        new = _EACH.format("lambda g: g * 2", ast.unparse(node))
        what = f"{short(node)} is returned doubled"
        yield Change("doubled gradient", function, node, new, what)


def dropped_tail(function: Function, program: Program) -> Iterator[Change]:
    """The last block, where it isn't full, gets no program."""
    for node in ast.walk(function.node):
        if isinstance(node, ast.Call) and called(node) == "cdiv" and len(node.args) == 2:
            new = ast.unparse(ast.BinOp(node.args[0], ast.FloorDiv(), node.args[1]))
            yield Change("dropped tail", function, node, new, f"the grid has {new} programs")


def ignored_parameter(function: Function, program: Program) -> Iterator[Change]:
    """A kernel, or the op, gets the default whatever the caller says; or one more than he says."""
    numbers = _numbers(function.node)
    for call in _handovers(function):
        for node in [*call.args, *(k.value for k in call.keywords)]:
            if isinstance(node, ast.Name) and node.id in numbers:
                name, fixed = node.id, program.defaults.get(node.id, "1.0")
                for new, what in (
                    (fixed, f"{name} is ignored: always {fixed}"),
                    (f"{name} + 1.0", f"{name} is passed on one too large"),
                ):
                    yield Change("ignored parameter", function, node, new, what)


def dropped_refusal(function: Function, program: Program) -> Iterator[Change]:
    """Arguments the op doesn't serve are no longer refused."""
    if function.file != "wrapper.py":
        return
    for node in ast.walk(function.node):
        if isinstance(node, ast.Expr) and called(node.value).startswith("check"):
            what = f"no longer refused: {short(node)}"
        elif isinstance(node, ast.If) and isinstance(node.body[-1], ast.Raise) and not node.orelse:
            what = f"no longer refused: {short(node.test)}"
        else:
            continue
        yield Change("dropped refusal", function, node, "pass", what)


def _returned(function: Function) -> Iterator[ast.expr]:
    """The gradients a function hands back, one by one where it names them."""
    if not function.backward or _is_plain(function.node.returns):
        return
    for node in ast.walk(function.node):
        if isinstance(node, ast.Return) and node.value is not None:
            if not any(isinstance(part, ast.Name) for part in ast.walk(node.value)):
                continue  # nothing but None, as where no gradient is needed
            parts = list(_parts(node.value))
            # What calls on other functions for its gradients is changed only where autograd calls.
            yield from parts or ([node.value] if function.root else [])


def _is_plain(declared: ast.expr | None) -> bool:
    """Whether what a function is declared to return has no tensors: zeros of it are the same."""
    if declared is None:
        return False
    named = {last_name(node) for node in ast.walk(declared)} - {""}
    return bool(named) and named <= _PLAIN


def _parts(node: ast.expr) -> Iterator[ast.expr]:
    if isinstance(node, ast.Tuple | ast.List):
        for part in node.elts:
            value = part.value if isinstance(part, ast.Starred) else part
            if isinstance(value, ast.Name | ast.Call | ast.Subscript):
                yield value
    elif isinstance(node, ast.ListComp | ast.GeneratorExp):
        yield from _parts(node.generators[0].iter)
    elif isinstance(node, ast.Call) and called(node) in ("tuple", "list") and len(node.args) == 1:
        yield from _parts(node.args[0])


def _numbers(node: ast.FunctionDef) -> set[str]:
    """The parameters that are numbers, by their annotation or default."""
    arguments = [*node.args.args, *node.args.kwonlyargs]
    annotated = {a.arg for a in arguments if a.annotation and last_name(a.annotation) == "float"}
    return annotated | {name for name, default in _defaults(node) if _is_number(default)}


def numbers_by_default(tree: ast.Module) -> dict[str, str]:
    """The number each parameter of a module's functions has by default, as text."""
    defined = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    pairs = (pair for node in defined for pair in _defaults(node))
    return {name: ast.unparse(default) for name, default in pairs if _is_number(default)}


def _defaults(node: ast.FunctionDef) -> Iterator[tuple[str, ast.expr]]:
    last = zip(reversed(node.args.args), reversed(node.args.defaults), strict=False)
    named = zip(node.args.kwonlyargs, node.args.kw_defaults, strict=True)
    for argument, default in (*last, *named):
        if default is not None:
            yield argument.arg, default


def _is_number(node: ast.expr) -> bool:
    inner = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(inner, ast.Constant) and type(inner.value) is float


def _handovers(function: Function) -> Iterator[ast.Call]:
    """The calls that pass arguments on: launches, and what the wrapper's functions return."""
    for node in ast.walk(function.node):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Subscript):
            yield node
        if function.file == "wrapper.py" and isinstance(node, ast.Return) and node.value:
            yield from (n for n in ast.walk(node.value) if isinstance(n, ast.Call))
