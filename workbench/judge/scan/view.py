"""A file as the rules see it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from workbench.judge.scan.finding import Finding
from workbench.judge.scan.names import LIBRARY
from workbench.judge.scan.program import Program
from workbench.judge.scan.scopes import Comprehension, Def, Function, Module, Scope
from workbench.judge.scan.values import Values, is_tensor

Node = TypeVar("Node", bound=ast.AST)
_MAKING = {"__init__", "reset_parameters", "__post_init__"}


@dataclass(frozen=True)
class View:
    """One file of the program, and questions about its nodes."""

    module: Module
    program: Program

    @cached_property
    def all(self) -> list[ast.AST]:
        """All nodes."""
        return list(ast.walk(self.module.tree))

    @cached_property
    def rebound(self) -> set[str]:
        """Names of the file itself that its functions may assign."""
        outside = (node for node in self.all if isinstance(node, ast.Global | ast.Nonlocal))
        return {name for node in outside for name in node.names}

    @cached_property
    def mentioned(self) -> set[str]:
        """All names, attributes and words of texts in all files."""
        found: set[str] = set()
        for module in self.program.modules:
            for node in ast.walk(module.tree):
                match node:
                    case ast.Name(name) | ast.Attribute(_, name) | ast.keyword(str(name)):
                        found.add(name)
                    case ast.ImportFrom(_, aliases):
                        found.update(alias.name for alias in aliases)
                    case ast.MatchClass(_, _, names):
                        found.update(names)
                    case ast.Constant(str(text)):
                        found.update(re.findall(r"\w+", text))
        return found

    def nodes(self, kind: type[Node]) -> Iterator[Node]:
        """All nodes of a kind."""
        return (node for node in self.all if isinstance(node, kind))

    def functions(self) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
        """All functions but lambdas."""
        return (node for node in self.all if isinstance(node, Def))

    def value(self, node: ast.AST) -> Values:
        """What an expression may stand for."""
        return self.program.value(node)

    def origins(self, node: ast.AST) -> set[str]:
        """The imported or built-in names an expression may stand for."""
        return {v.name for v in self.value(node) if v.kind == "name" and not v.depth}

    def is_tensor(self, node: ast.AST) -> bool:
        """Whether an expression can't be but a tensor."""
        return is_tensor(self.value(node))

    def constant(self, node: ast.AST) -> object:
        """The constant an expression surely is: written out, or a name for it; else None."""
        match node:
            case ast.Constant(value):
                return value
            case ast.Name():
                given = self.assigned(node)
                return self.constant(given) if given and given is not node else None
            case ast.JoinedStr(parts):
                return self._text(parts)
            case ast.FormattedValue(value):
                return self.constant(value)
            case ast.BinOp(left, ast.Add(), right):
                return self._text([left, right])
            case ast.Attribute() if self.origins(node) == {f"{LIBRARY}.op.NAMESPACE"}:
                return LIBRARY
            case _:
                return None

    def assigned(self, node: ast.Name) -> ast.expr | None:
        """The expression a name surely stands for, if it is assigned once."""
        owner = self.scope(node).owner(node.id)
        given = owner.expressions.get(node.id, []) if owner else []
        return given[0] if owner and len(given) == 1 == len(owner.bindings[node.id]) else None

    def _text(self, parts: list[ast.expr]) -> str | None:
        known = [self.constant(part) for part in parts]
        texts = [part for part in known if isinstance(part, str)]
        return "".join(texts) if len(texts) == len(parts) else None

    def scope(self, node: ast.AST) -> Scope:
        """The scope a node is evaluated in."""
        while node not in self.module.scopes:
            node = self.module.parents[node]
        return self.module.scopes[node]

    def in_kernel(self, node: ast.AST) -> bool:
        """Whether it is inside a @triton.jit function."""
        return any(scope.node in self.program.kernels for scope in self.scope(node).chain())

    def at_import(self, node: ast.AST) -> bool:
        """Whether it runs when the file is imported."""
        inner = (ast.Module, ast.ClassDef, Comprehension)
        return all(isinstance(scope.node, inner) for scope in self.scope(node).chain())

    def method(self, node: ast.AST) -> tuple[str, str]:
        """The method around a node: its name, and that of its first parameter; else empty."""
        for scope in self.scope(node).chain():
            around = scope.parent
            if scope.is_function and around and isinstance(around.node, ast.ClassDef):
                assert isinstance(scope.node, Function)
                first = [a.arg for a in (*scope.node.args.posonlyargs, *scope.node.args.args)]
                return getattr(scope.node, "name", ""), first[0] if first else ""
        return "", ""

    def is_making(self, node: ast.AST) -> bool:
        """Whether it is in a method that makes an object."""
        return self.method(node)[0] in _MAKING

    def fills_parameters(self, node: ast.AST) -> bool:
        """Whether it is in a method that makes a module from plain numbers, and sees no input."""
        function = self.scope(node).function()
        if not self.is_making(node) or not function or not isinstance(function.node, Function):
            return False
        arguments = function.node.args
        named = [*arguments.posonlyargs, *arguments.args][1:] + arguments.kwonlyargs
        plain = all(
            argument.annotation
            and {v.kind for v in self.program.annotated(argument)} <= {"data", "none"}
            for argument in named
        )
        return plain and not arguments.vararg and not arguments.kwarg

    def finding(self, node: ast.AST, rule: str, message: str) -> Finding:
        """A finding at a node."""
        line = getattr(node, "lineno", 1)
        return Finding(file=self.module.path, line=line, rule=rule, message=message)


Rule = Callable[[View], Iterable[Finding]]
