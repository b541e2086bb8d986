"""A file's scopes, and what each name in them is bound to."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from workbench.judge.scan.tensors import TELLING
from workbench.judge.scan.values import (
    ANY,
    CONTEXT,
    DATA,
    NOTHING,
    Kind,
    Value,
    Values,
    contained,
    elements,
    union,
)

if TYPE_CHECKING:
    from workbench.judge.scan.program import Program

Thunk = Callable[["Program"], Values]
Def = ast.FunctionDef | ast.AsyncFunctionDef
Function = Def | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
MUTABLE = (ast.List, ast.Dict, ast.Set, ast.ListComp, ast.DictComp, ast.SetComp)
RETURN = "return"  # a function's scope binds what it returns to this
CONTEXTS = ("ctx", "_ctx", "context")


@dataclass(eq=False)
class Scope:
    """`bindings` give the values of a name, `values` are those found so far.

    `telling` are names used as only tensors are used; `expressions` what names are assigned.
    """

    node: ast.AST
    parent: Scope | None = None
    bindings: dict[str, list[Thunk]] = field(default_factory=dict)
    values: dict[str, Values] = field(default_factory=dict)
    expressions: dict[str, list[ast.expr]] = field(default_factory=dict)
    telling: set[str] = field(default_factory=set)
    outside: set[str] = field(default_factory=set)

    @property
    def is_function(self) -> bool:
        """Whether it is a function's or a lambda's."""
        return isinstance(self.node, Function)

    def owner(self, name: str) -> Scope | None:
        """The scope in which `name`, used here, is bound."""
        for scope in self.chain():
            skipped = scope is not self and isinstance(scope.node, ast.ClassDef)
            if name in scope.bindings and name not in scope.outside and not skipped:
                return scope
        return None

    def chain(self) -> Iterator[Scope]:
        """This scope and those around it."""
        scope: Scope | None = self
        while scope:
            yield scope
            scope = scope.parent

    def function(self) -> Scope | None:
        """The innermost function around."""
        return next((scope for scope in self.chain() if scope.is_function), None)


@dataclass(eq=False)
class Module:
    """A parsed file. `name` is what it is imported as; `scopes` has the scope of every node.

    `captured` are the names that patterns bind, with what they stand for.
    """

    path: str
    name: str
    op: str
    tree: ast.Module
    top: Scope
    scopes: dict[ast.AST, Scope] = field(default_factory=dict)
    inner: dict[ast.AST, Scope] = field(default_factory=dict)
    parents: dict[ast.AST, ast.AST] = field(default_factory=dict)
    calls: list[ast.Call] = field(default_factory=list)
    fields: list[tuple[ast.expr, str, Thunk]] = field(default_factory=list)
    annotations: list[ast.expr] = field(default_factory=list)
    captured: list[tuple[ast.MatchAs, Thunk]] = field(default_factory=list)

    def ancestors(self, node: ast.AST) -> Iterator[ast.AST]:
        """The nodes around, innermost first."""
        while node in self.parents:
            node = self.parents[node]
            yield node


def read(path: str, name: str, op: str, tree: ast.Module) -> Module:
    """Find the scopes of a file and bind its names."""
    module = Module(path, name, op, tree, Scope(tree))
    for node in ast.walk(tree):
        for child in ast.iter_child_nodes(node):
            module.parents[child] = node
    _Binder(module).visit(tree)
    for node, scope in module.scopes.items():
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            owner = scope.owner(node.value.id)
            if node.attr in TELLING and owner and owner.parent:
                owner.telling.add(node.value.id)
    return module


class _Binder(ast.NodeVisitor):
    """Walks a file once; expressions are evaluated later, when all names are bound."""

    def __init__(self, module: Module) -> None:
        self._module = module
        self._scope = module.top

    def visit(self, node: ast.AST) -> None:
        self._module.scopes[node] = self._scope
        super().visit(node)

    # ---- definitions

    def visit_FunctionDef(self, node: Def) -> None:
        self._bind(node.name, lambda program: program.decorated(node))
        self._visit_all(node.decorator_list)
        if node.returns:
            self._annotation(node.returns)
        self._function(node, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_Lambda(self, node: ast.Lambda) -> None:
        self._function(node, [node.body])
        self._module.inner[node].bindings[RETURN] = [lambda program: program.value(node.body)]

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._bind(node.name, lambda _: frozenset({Value("class", node.name, node)}))
        self._visit_all([*node.decorator_list, *node.bases, *node.keywords])
        outer, self._scope = self._scope, self._enter(node)
        self._visit_all(node.body)
        self._scope = outer

    def visit_Return(self, node: ast.Return) -> None:
        if (expression := node.value) and self._scope.is_function:
            self._bind(RETURN, lambda program: program.value(expression))
        self.generic_visit(node)

    def visit_Yield(self, node: ast.Yield) -> None:
        if (expression := node.value) and self._scope.is_function:
            self._bind(RETURN, lambda program: contained(program.value(expression)))
        self.generic_visit(node)

    def _function(self, node: Function, body: Sequence[ast.AST]) -> None:
        outer = self._scope
        arguments = node.args
        self._visit_all([*arguments.defaults, *(d for d in arguments.kw_defaults if d)])
        for argument in ast.walk(arguments):
            if isinstance(argument, ast.arg) and argument.annotation:
                self._annotation(argument.annotation)
        self._scope = self._enter(node)
        self._parameters(node, outer)
        self._visit_all(body)
        self._scope = outer

    def _parameters(self, node: Function, outer: Scope) -> None:
        arguments = node.args
        plain = [*arguments.posonlyargs, *arguments.args]
        given = [*[None] * (len(plain) - len(arguments.defaults)), *arguments.defaults]
        pairs = [*zip(plain, given, strict=True)]
        pairs += zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True)
        own = outer.node if _takes_self(node, outer) else None
        for number, (argument, default) in enumerate(pairs):
            self._bind(argument.arg, _parameter(argument, default, None if number else own))
        for rest in (arguments.vararg, arguments.kwarg):
            if rest:
                self._bind(rest.arg, lambda program, a=rest: contained(program.annotated(a)))  # type: ignore[misc]

    # ---- statements that bind

    def visit_Import(self, node: ast.Import) -> None:
        for alias in node.names:
            origin = alias.name if alias.asname else alias.name.split(".")[0]
            self._bind(alias.asname or origin, _named(origin))

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        base = imported_from(self._module, node)
        for alias in node.names:
            self._bind(
                alias.asname or alias.name,
                lambda program, name=alias.name: program.attribute(Value("name", base), name),  # type: ignore[misc]
            )

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            self._assign(target, node.value)
        self.generic_visit(node)

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        self._annotation(node.annotation)
        value, annotation = node.value, node.annotation
        if value is not None:
            self._assign(node.target, value)
            self.visit(value)
        elif isinstance(node.target, ast.Name):
            self._bind(node.target.id, lambda program: program.annotation(annotation))
        self.visit(node.target)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        as_expression = ast.BinOp(node.target, node.op, node.value)
        self._module.scopes[as_expression] = self._scope
        self._assign_from(node.target, lambda program: program.value(as_expression))
        self.generic_visit(node)

    def visit_NamedExpr(self, node: ast.NamedExpr) -> None:
        scope = self._scope
        while isinstance(self._scope.node, Comprehension) and self._scope.parent:
            self._scope = self._scope.parent
        self._assign(node.target, node.value)
        self._scope = scope
        self.generic_visit(node)

    def visit_For(self, node: ast.For | ast.AsyncFor) -> None:
        self._assign_from(node.target, lambda program: elements(program.value(node.iter)))
        self.generic_visit(node)

    visit_AsyncFor = visit_For

    def visit_comprehension(self, node: ast.comprehension) -> None:
        self._assign_from(node.target, lambda program: elements(program.value(node.iter)))
        self.generic_visit(node)

    def visit_withitem(self, node: ast.withitem) -> None:
        if node.optional_vars:
            self._assign_from(
                node.optional_vars, lambda program: program.entered(node.context_expr)
            )
        self.generic_visit(node)

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> None:
        if node.name:
            self._bind(node.name, lambda _: DATA)
        self.generic_visit(node)

    def visit_Match(self, node: ast.Match) -> None:
        for case in node.cases:
            self._pattern(case.pattern, lambda program: program.value(node.subject))
        self.generic_visit(node)

    def _pattern(self, pattern: ast.pattern, thunk: Thunk) -> None:
        """Bind what a pattern names; `thunk` gives what is matched."""
        match pattern:
            case ast.MatchAs(inner, name):
                if name:
                    self._bind(name, thunk)
                    self._module.captured.append((pattern, thunk))
                if inner:
                    self._pattern(inner, thunk)
            case ast.MatchStar(str(name)):
                self._bind(name, lambda program: contained(thunk(program)))
            case ast.MatchOr(parts):
                for part in parts:
                    self._pattern(part, thunk)
            case ast.MatchSequence(parts):
                for part in parts:
                    self._pattern(part, lambda program: elements(thunk(program)))
            case ast.MatchMapping(_, parts, rest):
                for part in parts:
                    self._pattern(part, lambda program: elements(thunk(program)))
                if rest:
                    self._bind(rest, thunk)
            case ast.MatchClass(_, parts, names, named):
                for part in parts:
                    self._pattern(part, lambda program: ANY | thunk(program))
                for name, part in zip(names, named, strict=True):
                    self._pattern(part, _attribute(thunk, name))

    def visit_Global(self, node: ast.Global | ast.Nonlocal) -> None:
        self._scope.outside.update(node.names)

    visit_Nonlocal = visit_Global

    # ---- other nodes of interest

    def visit_Call(self, node: ast.Call) -> None:
        self._module.calls.append(node)
        if name := set_field(node):
            base, value = node.args[0], node.args[2]
            self._module.fields.append((base, name, lambda program: program.value(value)))
        self.generic_visit(node)

    def visit_Comprehension(self, node: Comprehension) -> None:
        outer, self._scope = self._scope, self._enter(node)
        self.generic_visit(node)
        self._scope = outer

    visit_ListComp = visit_SetComp = visit_DictComp = visit_GeneratorExp = visit_Comprehension

    # ---- binding

    def _enter(self, node: ast.AST) -> Scope:
        self._module.inner[node] = Scope(node, self._scope)
        return self._module.inner[node]

    def _visit_all(self, nodes: Sequence[ast.AST]) -> None:
        for node in nodes:
            self.visit(node)

    def _annotation(self, node: ast.expr) -> None:
        self._module.annotations.append(node)
        self.visit(node)

    def _bind(self, name: str, thunk: Thunk) -> None:
        self._scope.bindings.setdefault(name, []).append(thunk)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        match target, value:
            case ast.Name(name), _:
                self._scope.expressions.setdefault(name, []).append(value)
                self._assign_from(target, _kept(self._scope, name, value))
            case ((ast.Tuple(targets) | ast.List(targets)), (ast.Tuple(values) | ast.List(values))):
                if len(targets) == len(values) and not _starred(*targets, *values):
                    for one, other in zip(targets, values, strict=True):
                        self._assign(one, other)
                else:
                    self._assign_from(target, lambda program: program.value(value))
            case _:
                self._assign_from(target, lambda program: program.value(value))

    def _assign_from(self, target: ast.expr, thunk: Thunk) -> None:
        match target:
            case ast.Name(name):
                self._bind(name, thunk)
            case ast.Attribute(base, attribute):
                self._module.fields.append((base, attribute, thunk))
            case ast.Starred(inner):
                self._assign_from(inner, lambda program: contained(thunk(program)))
            case ast.Tuple(targets) | ast.List(targets):
                for one in targets:
                    self._assign_from(one, lambda program: elements(thunk(program)))


def _attribute(thunk: Thunk, name: str) -> Thunk:
    return lambda program: union(program.attribute(value, name) for value in thunk(program))


def set_field(call: ast.Call) -> str:
    """The attribute that `object.__setattr__(it, "name", value)` sets; empty for other calls."""
    match call:
        case ast.Call(ast.Attribute(_, "__setattr__"), [_, ast.Constant(str(name)), _], []):
            return "" if name.startswith("__") else name
        case _:
            return ""


def imported_from(module: Module, node: ast.ImportFrom) -> str:
    """The dotted name of the module that `from ... import` names."""
    package = module.name.split(".")[: -node.level] if node.level else []
    return ".".join([*package, *([node.module] if node.module else [])])


def _named(origin: str) -> Thunk:
    return lambda _: frozenset({Value("name", origin)})


def _parameter(argument: ast.arg, default: ast.expr | None, own: ast.AST | None) -> Thunk:
    """`own` is the class whose object (or which itself) the parameter of a method is."""

    def thunk(program: Program) -> Values:
        if own:
            kind: Kind = "class" if argument.arg == "cls" else "object"
            return frozenset({Value(kind, getattr(own, "name", ""), own)})
        if argument.arg in CONTEXTS:
            return CONTEXT
        found = program.annotated(argument)
        if default is not None and (not argument.annotation or isinstance(default, MUTABLE)):
            found |= program.value(default)
        if default is not None and program.may_change(default):
            found |= {Value("state", f"the default of {argument.arg}")}
        return found

    return thunk


def _kept(scope: Scope, name: str, value: ast.expr) -> Thunk:
    """A value assigned to a name; at the level of a module or class it outlives every call."""
    lives = isinstance(scope.node, (ast.Module, ast.ClassDef))
    state = frozenset({Value("state", name)}) if lives else NOTHING
    return lambda program: union(
        [program.value(value), state if program.may_change(value) else NOTHING]
    )


def _starred(*nodes: ast.expr) -> bool:
    return any(isinstance(node, ast.Starred) for node in nodes)


def _takes_self(node: Function, outer: Scope) -> bool:
    if isinstance(node, ast.Lambda) or not isinstance(outer.node, ast.ClassDef):
        return False
    return all(getattr(d, "id", "") != "staticmethod" for d in node.decorator_list)
