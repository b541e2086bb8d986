"""What the names of a candidate's files have been found to stand for so far.

Variables, attributes and parameters; what expressions stand for is found by `program`, from these.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Callable, Sequence

from workbench.judge.scan.names import LIBRARY, REEXPORTED
from workbench.judge.scan.scopes import CONTEXTS, MUTABLE, Function, Module, Scope
from workbench.judge.scan.values import ANY, NOTHING, TENSOR, Value, Values, contained


class Bindings:
    """The names of all files. `changed` is set where a name is found to stand for more.

    `scopes` has the scope of every node, `inner` those that functions and classes open, `context`
    what is kept on a `ctx`, `given` the parameters that each argument may go to. `annotated` says
    what a parameter is declared to be.
    """

    def __init__(self, modules: Sequence[Module], annotated: Callable[[ast.arg], Values]) -> None:
        self.changed = False
        self._annotated = annotated
        self.given: dict[ast.AST, set[ast.arg]] = {}
        self.scopes = {n: s for module in modules for n, s in module.scopes.items()}
        self.inner = {n: s for module in modules for n, s in module.inner.items()}
        self.context = Scope(ast.Module([], []))
        self._named = {module.name: module for module in modules}

    def add(self, scope: Scope, name: str, values: Values) -> None:
        """Let a name of a scope stand for these values too."""
        known = scope.values.get(name, NOTHING)
        if not values <= known:
            scope.values[name] = known | values
            self.changed = True

    def set_field(self, bases: Values, name: str, values: Values) -> None:
        """Let an attribute of objects, classes or a `ctx` stand for these values too."""
        for base in bases:
            if base.kind == "context":
                self.add(self.context, name, values)
            elif base.kind in ("object", "class") and base.node in self.inner:
                self.add(self.inner[base.node], name, values)

    def lookup(self, name: str, scope: Scope) -> Values:
        """What a name may stand for where it is used."""
        owner = scope.owner(name)
        if owner is None:
            known = hasattr(builtins, name) or name.startswith("__")
            return frozenset({Value("name", f"builtins.{name}")}) if known else ANY
        values = owner.values.get(name, NOTHING)
        told = name in owner.telling and {v.kind for v in values} <= {"any", "none", "tensor"}
        return (values - ANY) | TENSOR if told and values else values

    def member(self, origin: str, name: str) -> Values:
        """An attribute of something imported: of our own files what it is bound to there."""
        module = self._named.get(origin)
        if module and name in module.top.bindings:
            return module.top.values.get(name, NOTHING)
        if origin.startswith(f"{LIBRARY}.") and name in REEXPORTED:
            return frozenset({Value("name", REEXPORTED[name])})
        if origin.count(".") > 12:
            return ANY
        return frozenset({Value("name", f"{origin}.{name}")})

    def pass_arguments(
        self,
        function: Value,
        call: ast.Call,
        bound: bool,
        value: Callable[[ast.expr], Values],
        skip: int = 0,
    ) -> None:
        """Bind a function's parameters to what a call gives; `value` says what arguments are."""
        node = function.node
        if node not in self.inner or not isinstance(node, Function):
            return
        scope = self.inner[node]
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        own = names[:1] if any(v.kind in ("object", "class") for v in self._first(node)) else []
        names = names[(len(own) if bound else 0) + function.filled :]
        hints = {a.arg: a for a in ast.walk(node.args) if isinstance(a, ast.arg)}
        for number, argument in enumerate(call.args[skip:]):
            several = isinstance(argument, ast.Starred)
            for name in names[number : None if several else number + 1]:
                self._give(scope, hints[name], value(argument), argument)
            if number >= len(names):
                self._give_rest(scope, node.args.vararg, value(argument))
        for keyword in call.keywords:
            if keyword.arg in hints:
                self._give(scope, hints[keyword.arg], value(keyword.value), keyword.value)
            elif keyword.arg:
                self._give_rest(scope, node.args.kwarg, value(keyword.value))

    def _give(self, scope: Scope, parameter: ast.arg, values: Values, given: ast.expr) -> None:
        if parameter.arg in CONTEXTS:
            return
        self.given.setdefault(given, set()).add(parameter)
        if parameter.annotation and ANY.isdisjoint(self._annotated(parameter)):
            telling = ("state", "kernel", "name", "function", "library")
            values = frozenset(v for v in values if v.kind in telling)
        at_top = isinstance(self.scopes[given].node, (ast.Module, ast.ClassDef))
        if at_top and isinstance(given, MUTABLE):
            values |= {Value("state", parameter.arg)}
        self.add(scope, parameter.arg, values)

    def _give_rest(self, scope: Scope, rest: ast.arg | None, values: Values) -> None:
        """Of what `*rest` or `**rest` takes, tensors and the like: without a type it may be any."""
        if rest and not rest.annotation:
            self.add(scope, rest.arg, contained(values))

    def _first(self, node: Function) -> Values:
        names = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
        return self.inner[node].values.get(names[0], NOTHING) if names else NOTHING
