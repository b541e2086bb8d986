"""A candidate's files as functions: which are kernels, and which of them compute gradients."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

# What a definition of an op is told that no kernel's work hangs on.
_ASIDE = frozenset({"fake", "save", "setup_context"})


def called(node: ast.AST) -> str:
    """The last part of the name a call calls: `load` for `tl.load(...)`; else empty."""
    return last_name(node.func) if isinstance(node, ast.Call) else ""


def last_name(node: ast.AST) -> str:
    """`jit` for `triton.jit`; empty for what is no name."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def names(node: ast.AST) -> set[str]:
    """Every name that is read somewhere in the node."""
    reads = (n for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load))
    return {name.id for name in reads}


@dataclass(frozen=True, eq=False)
class Function:
    """A function of a candidate: `backward` if only gradients need it; autograd calls a `root`."""

    file: str
    name: str
    node: ast.FunctionDef
    is_kernel: bool
    backward: bool
    root: bool
    language: str

    @cached_property
    def parents(self) -> Mapping[ast.AST, ast.AST]:
        """Of each node below the function, the node it stands in."""
        below = ast.walk(self.node)
        return {child: node for node in below for child in ast.iter_child_nodes(node)}

    @cached_property
    def parameters(self) -> tuple[ast.arg, ...]:
        """All parameters, those given by keyword only last."""
        return (*self.node.args.posonlyargs, *self.node.args.args, *self.node.args.kwonlyargs)

    def is_number(self, name: str) -> bool:
        """Whether a parameter is passed when the kernel runs, rather than compiled into it."""
        given = [p for p in self.parameters if p.arg == name]
        return bool(given) and not (
            given[0].annotation and last_name(given[0].annotation) == "constexpr"
        )


def functions(trees: Mapping[str, ast.Module]) -> list[Function]:
    """The functions of all files, methods included, in the order of the files."""
    return [f for file in trees for f in _functions(file, trees)]


def _functions(file: str, trees: Mapping[str, ast.Module]) -> Iterator[Function]:
    tree = trees[file]
    uses = _uses(tree)
    elsewhere = {
        last_name(node)
        for other, module in trees.items()
        if other != file
        for node in ast.walk(module)
    }
    roots = _roots(tree) | {name for name in uses if name.endswith(".backward")}
    forward = _reach((elsewhere & uses.keys()) - roots, uses)
    backward = _reach(roots, uses)
    language = _language(tree)
    for name, node in _defined(tree):
        yield Function(
            file=file,
            name=name,
            node=node,
            is_kernel=any(last_name(_undressed(d)) == "jit" for d in node.decorator_list),
            backward=name in backward - forward or _sounds_backward(name),
            root=name in roots,
            language=language,
        )


def _defined(tree: ast.Module) -> Iterator[tuple[str, ast.FunctionDef]]:
    for node in tree.body:
        if isinstance(node, ast.FunctionDef):
            yield node.name, node
        elif isinstance(node, ast.ClassDef):
            for method in node.body:
                if isinstance(method, ast.FunctionDef):
                    yield f"{node.name}.{method.name}", method


def _undressed(decorator: ast.expr) -> ast.expr:
    return decorator.func if isinstance(decorator, ast.Call) else decorator


def _sounds_backward(name: str) -> bool:
    return any(word in name.lower() for word in ("bwd", "backward")) and "fake" not in name


def _uses(tree: ast.Module) -> dict[str, set[str]]:
    """Of each name the module defines, the names its definition reads; a class has its methods'."""
    uses: dict[str, set[str]] = {}
    for name, defined in _defined(tree):
        uses[name] = names(defined)
        owner, _, method = name.rpartition(".")
        if owner and method != "backward":
            uses.setdefault(owner, set()).update(uses[name])
    for node in tree.body:
        if isinstance(node, ast.Assign):
            for target in node.targets:
                uses[last_name(target)] = _told(node.value)
    return uses


def _told(node: ast.expr) -> set[str]:
    """The names in a module's expression, without what is only said aside."""
    if not isinstance(node, ast.Call):
        return names(node)
    parts = [node.func, *node.args, *(k.value for k in node.keywords if k.arg not in _ASIDE)]
    return {name for part in parts for name in names(part)}


def _roots(tree: ast.Module) -> set[str]:
    """What the module hands to autograd: arguments of `op.autograd`, `x.register_autograd`, …"""
    roots = set()
    for node in tree.body:
        if isinstance(node, ast.Expr) and "autograd" in called(node.value):
            roots |= _told(node.value)
        if isinstance(node, ast.FunctionDef) and any(
            "autograd" in last_name(_undressed(d)) for d in node.decorator_list
        ):
            roots.add(node.name)
    return roots & {name for name, _ in _defined(tree)}


def _reach(starts: set[str], uses: Mapping[str, set[str]]) -> set[str]:
    reached: set[str] = set()
    todo = sorted(starts)
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo.extend(uses.get(name, ()))
    return reached


def _language(tree: ast.Module) -> str:
    """What the module calls `triton.language`."""
    for node in tree.body:
        if isinstance(node, ast.Import | ast.ImportFrom):
            for alias in node.names:
                if alias.name in ("triton.language", "language"):
                    return alias.asname or alias.name
    return "tl"
