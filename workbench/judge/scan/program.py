"""What every expression of a candidate's files may stand for, found without running them.

Expressions are evaluated from what their names stand for so far, which `bindings` has, and names
are given what they are bound to: through assignments, calls, containers and from file to file,
regardless of the order of statements, until nothing new is found.
"""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from workbench.judge.scan import results, tensors
from workbench.judge.scan.bindings import Bindings
from workbench.judge.scan.names import LIBRARY
from workbench.judge.scan.scopes import MUTABLE, RETURN, Module
from workbench.judge.scan.values import (
    ANY,
    DATA,
    NONE,
    NOTHING,
    TENSOR,
    Value,
    Values,
    contained,
    elements,
    is_tensor,
    union,
)

KERNELS = {"triton.jit", f"{LIBRARY}.jit.jit"}
_REGISTER = {f"torch.library.{name}" for name in ("custom_op", "triton_op")}
CACHES = {f"functools.{name}" for name in ("cache", "lru_cache", "cached_property")}
_PURE = {
    f"builtins.{name}"
    for name in "int float bool str min max len sum abs round tuple frozenset range".split()
}
_FACTORIES = {"triton.autotune", "triton.heuristics", "functools.wraps"}
_SAME = {f"builtins.{name}" for name in "tuple list sorted reversed set iter".split()}
_DATA = ("builtins.", "math.", "triton.", f"{LIBRARY}.launch.")
A_TYPE = "a type"  # the state that type(x) gives
_ROUNDS = 50
_MOST = 16  # parameters that are counted as filled, so that a partial of itself has an end


class Program:
    """The files of one candidate. `settled` is False where names go round in too many circles."""

    def __init__(self, modules: Sequence[Module]) -> None:
        self.modules = modules
        self.cached: set[ast.AST] = set()
        self.kernels: set[ast.AST] = set()
        self._bindings = Bindings(modules, self.annotated)
        self._found: dict[ast.AST, Values] = {}
        # What is given where nothing is known: first nothing, as it may yet be found.
        self._unknown = NOTHING
        self._settle()
        self._unknown = ANY
        self._settle()
        self.settled = not self._bindings.changed

    def value(self, node: ast.AST) -> Values:
        """What an expression may stand for."""
        if node not in self._found:
            self._found[node] = NOTHING  # of a cycle within this round
            self._found[node] = self._evaluate(node)
        return self._found[node]

    def declares(self, value: Value, name: str) -> bool:
        """Whether an object's class, or a `ctx`, is given an attribute of this name."""
        if value.kind == "context":
            return name in self._bindings.context.values
        return bool({v.kind for v in self._field(value, name)} - {"any"})

    def may_change(self, node: ast.expr) -> bool:
        """Whether what an expression makes can be changed, or changes by being used."""
        for part in ast.walk(node):
            if isinstance(part, ast.Call):
                made = self.value(part.func)
                if not made or not all(v.kind == "name" and _is_pure(v.name) for v in made):
                    return True
            elif isinstance(part, (*MUTABLE, ast.GeneratorExp)):
                return True
        return False

    def _settle(self) -> None:
        tops = [module.top for module in self.modules]
        self._bindings.changed = True
        for _ in range(_ROUNDS):
            if not self._bindings.changed:
                return
            self._bindings.changed, self._found = False, {}
            for scope in [*tops, *self._bindings.inner.values()]:
                for name, thunks in scope.bindings.items():
                    self._bindings.add(scope, name, union(thunk(self) for thunk in thunks))
            for module in self.modules:
                for base, attribute, thunk in module.fields:
                    self._bindings.set_field(self.value(base), attribute, thunk(self))
                for call in module.calls:
                    self.value(call)
        self._found = {}

    # ---- expressions

    def _evaluate(self, node: ast.AST) -> Values:
        match node:
            case ast.Constant(value):
                return NONE if value is None else DATA
            case ast.JoinedStr() | ast.Slice() | ast.FormattedValue():
                return DATA
            case ast.Name(name):
                return self._bindings.lookup(name, self._bindings.scopes[node])
            case ast.Attribute(base, attribute):
                return union(self.attribute(value, attribute) for value in self.value(base))
            case ast.Subscript(base):
                return elements(self.value(base))
            case ast.Call():
                return self._call(node)
            case ast.Tuple(parts) | ast.List(parts) | ast.Set(parts):
                return contained(union(map(self._part, parts))) if parts else DATA
            case ast.Dict(_, parts):
                return contained(union(map(self.value, parts))) if parts else DATA
            case ast.ListComp(part) | ast.SetComp(part) | ast.GeneratorExp(part):
                return contained(self.value(part))
            case ast.DictComp(_, part):
                return contained(self.value(part))
            case ast.IfExp(_, one, other):
                return self.value(one) | self.value(other)
            case ast.BoolOp(_, parts):
                return union(self.value(part) for part in parts)
            case ast.NamedExpr(_, inner) | ast.Await(inner):
                return self.value(inner)
            case ast.Lambda():
                return frozenset({Value("function", node=node)})
            case ast.BinOp(left, _, right):
                return self._arithmetic([left, right])
            case ast.UnaryOp(operator, operand):
                return DATA if isinstance(operator, ast.Not) else self._arithmetic([operand])
            case ast.Compare(left, operators, others):
                return self._comparison(operators, [left, *others])
            case _:
                return ANY

    def _part(self, node: ast.expr) -> Values:
        if isinstance(node, ast.Starred):
            return elements(self.value(node.value))
        return self.value(node)

    def _arithmetic(self, operands: Sequence[ast.expr]) -> Values:
        values = [self.value(operand) for operand in operands]
        if any(is_tensor(value) for value in values):
            return TENSOR
        if not all(values):
            return self._unknown
        joined = union(values)
        return joined if all(v.depth or v.kind in ("data", "none") for v in joined) else ANY

    def _comparison(self, operators: Sequence[ast.cmpop], operands: Sequence[ast.expr]) -> Values:
        if all(isinstance(operator, (ast.Is, ast.IsNot)) for operator in operators):
            return DATA
        values = [self.value(operand) for operand in operands]
        if any(is_tensor(value) for value in values):
            return TENSOR
        return DATA if all(values) else self._unknown

    # ---- attributes

    def attribute(self, base: Value, name: str) -> Values:
        """What an attribute of a value may be."""
        if base.depth:
            return results.of_container(base, name)
        match base.kind:
            case "name":
                return self._bindings.member(base.name, name)
            case "tensor":
                return results.of_tensor(name)
            case "any" if name in tensors.TELLING:
                return results.of_tensor(name)
            case "object" | "class":
                return self._field(base, name)
            case "context" if name == "saved_tensors":
                return contained(TENSOR)
            case "context" if name == "needs_input_grad":
                return DATA
            case "context":
                return self._bindings.context.values.get(name, self._unknown)
            case "op" if name == "default":
                return frozenset({base})
            case "state":
                return frozenset({base})
            case "data":
                return DATA
            case "none":
                return NOTHING
            case _:
                return ANY

    def _field(self, base: Value, name: str) -> Values:
        if base.node not in self._bindings.inner:
            return ANY
        scope = self._bindings.inner[base.node]
        if name == "apply" and (forward := scope.values.get("forward")):
            return frozenset(Value("op", node=v.node) for v in forward if v.kind == "function")
        if name in scope.values:
            own = scope.values[name]
            if base.kind == "object" and self._is_property(own):
                return union(self.returned(v.node) for v in own if v.node)
            return own
        parents = base.node.bases if isinstance(base.node, ast.ClassDef) else []
        inherited = {v for parent in parents for v in self.value(parent) if v.kind == "class"}
        return (
            union(self._field(v, name) for v in inherited if v.node is not base.node)
            or self._unknown
        )

    def _is_property(self, values: Values) -> bool:
        decorators = [d for v in values for d in getattr(v.node, "decorator_list", [])]
        kinds = {v.name for decorator in decorators for v in self.value(decorator)}
        return bool(kinds & {"builtins.property", "functools.cached_property"})

    # ---- calls

    def _call(self, node: ast.Call) -> Values:
        arguments = [self._part(argument) for argument in node.args]
        for keyword in node.keywords:
            self.value(keyword.value)
        return union(self._result(f, node, arguments) for f in self.value(node.func))

    def _result(self, function: Value, node: ast.Call, arguments: list[Values]) -> Values:
        first = arguments[0] if arguments else NOTHING
        if function.depth:
            return elements(frozenset({function}))
        match function.kind:
            case "name":
                return self._result_of_name(function.name, node, arguments)
            case "function":
                bound = isinstance(node.func, ast.Attribute)
                self._bindings.pass_arguments(function, node, bound, self._part)
                kept = {Value("state", getattr(function.node, "name", "a function"))}
                return self.returned(function.node) | (
                    kept if function.node in self.cached else NOTHING
                )
            case "op":
                return self.returned(function.node)
            case "class":
                self._construct(function, node)
                return frozenset({Value("object", function.name, function.node)})
            case "object":
                return self._call_object(function, node)
            case "method":
                return results.of_method(function.name)
            case "decorator":
                return self._decorate(function.name, first)
            case "launch" | "none":
                return NONE
            case "state":
                return frozenset({function})
            case _:
                return ANY

    def _result_of_name(self, name: str, node: ast.Call, arguments: list[Values]) -> Values:
        first = arguments[0] if arguments else NOTHING
        if name == "builtins.getattr" and len(node.args) > 1:
            literal = node.args[1]
            if isinstance(literal, ast.Constant) and isinstance(literal.value, str):
                found = union(self.attribute(value, literal.value) for value in first)
                return union([found, *arguments[2:3]])
            return ANY
        if name == "builtins.type":
            return ANY | {Value("state", A_TYPE)}
        if name == "builtins.super":
            return self._super(node)
        if name in _SAME:
            known = bool(first) or not node.args
            return frozenset(v for v in first if v.depth) or (DATA if known else self._unknown)
        if name in ("builtins.zip", "builtins.enumerate"):
            parts = contained(union(elements(a) for a in arguments))
            return contained(parts | DATA if name.endswith("enumerate") else parts)
        if name in ("builtins.next", "builtins.max", "builtins.min", "builtins.filter"):
            return elements(union(arguments)) or self._unknown
        if name == "builtins.map" and first and len(node.args) > 1:
            return self._mapped(first, node)
        if name == "functools.partial":
            return self._partial(first, node)
        if name in ("torch.library.wrap_triton", "dataclasses.replace"):
            return first
        if name == "typing.cast" and len(arguments) == 2:
            return TENSOR if is_tensor(arguments[1]) else self.annotation(node.args[0])
        if name in _FACTORIES:
            return frozenset({Value("decorator", name)})
        if name in KERNELS | CACHES | _REGISTER:
            return self._decorate_or_factory(name, arguments)
        if name == f"{LIBRARY}.op.define":
            return self._op(arguments[1] if len(arguments) > 1 else NOTHING)
        if name == "torch.library.Library":
            return frozenset({Value("library")})
        if name in (f"{LIBRARY}.op.spread", "torch.broadcast_tensors"):
            return contained(TENSOR)
        if name.startswith((f"{LIBRARY}.partials.add_parts", "torch.nn.Param", "torch.nn.Buf")):
            return TENSOR
        if name.startswith("torch."):
            return results.of_torch(name)
        return DATA if name.startswith(_DATA) else ANY

    def _partial(self, functions: Values, node: ast.Call) -> Values:
        """What `functools.partial` gives: the same functions, with parameters filled."""
        for value in functions:
            if value.kind == "function":
                self._bindings.pass_arguments(value, node, False, self._part, skip=1)
        several = any(isinstance(argument, ast.Starred) for argument in node.args)
        filled = 0 if several else len(node.args) - 1
        return frozenset(
            replace(v, filled=min(v.filled + filled, _MOST)) if v.kind == "function" else v
            for v in functions
        )

    def _mapped(self, functions: Values, node: ast.Call) -> Values:
        """What `map` gives; its function is given the elements."""
        for value in functions:
            if value.kind == "function":
                self._bindings.pass_arguments(
                    value, node, False, lambda given: elements(self._part(given)), skip=1
                )
        own = [value.node for value in functions if value.kind in ("function", "op")]
        return contained(union(map(self.returned, own))) if own else ANY

    def _call_object(self, value: Value, node: ast.Call) -> Values:
        names = ("forward", "__call__")
        methods = [v for n in names for v in self._field(value, n) if v.kind == "function"]
        for method in methods:
            self._bindings.pass_arguments(method, node, True, self._part)
        return union(self.returned(method.node) for method in methods) or self._unknown

    def _super(self, node: ast.Call) -> Values:
        """What the class around inherits from, as an object."""
        for scope in self._bindings.scopes[node].chain():
            if isinstance(scope.node, ast.ClassDef):
                return union(
                    frozenset({Value("object", v.name, v.node)} if v.kind == "class" else DATA)
                    for base in scope.node.bases
                    for v in self.value(base)
                )
        return ANY

    def _op(self, implementations: Values) -> Values:
        nodes = {value.node for value in implementations if value.kind == "function"}
        if not implementations:
            return NOTHING
        return frozenset(Value("op", node=node) for node in nodes or {None})

    def _construct(self, made: Value, node: ast.Call) -> None:
        for method in (
            self._field(made, "__init__") if made.node in self._bindings.inner else NOTHING
        ):
            if method.kind == "function":
                self._bindings.pass_arguments(method, node, True, self._part)

    def returned(self, node: ast.AST | None) -> Values:
        """What a function may return."""
        if node not in self._bindings.inner:
            return ANY
        declared = getattr(node, "returns", None)
        told = self.annotation(declared) if declared else ANY
        found = self._bindings.inner[node].values.get(RETURN, NOTHING)
        kept = frozenset(v for v in found if v.kind in ("state", "kernel", "name", "function"))
        return told | kept if ANY.isdisjoint(told) else found or self._unknown

    def entered(self, node: ast.expr) -> Values:
        """What `with` gives a name: what a generator yields, or what an `__enter__` returns."""
        found = NOTHING
        for value in self.value(node):
            if value.depth:
                found |= elements(frozenset({value}))
            elif value.kind == "object":
                own = self._field(value, "__enter__")
                found |= union(self.returned(v.node) for v in own if v.kind == "function")
            else:
                found |= ANY
        return found or self._unknown

    @property
    def given(self) -> dict[ast.AST, set[ast.arg]]:
        """What calls pass, and the parameters that it may go to."""
        return self._bindings.given

    # ---- decorators

    def decorated(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Values:
        """What the name of a function stands for."""
        values: Values = frozenset({Value("function", node.name, node)})
        for decorator in reversed(node.decorator_list):
            if not (found := self.value(decorator) or self._unknown):
                return NOTHING
            for value in found:
                if value.kind in ("name", "decorator"):
                    values = self._decorate(value.name, values)
                elif value.kind == "function":
                    values |= self.returned(value.node)
        return values

    def _decorate_or_factory(self, name: str, arguments: list[Values]) -> Values:
        given = arguments[1:2] if name in _REGISTER else arguments[:1]
        if any(v.kind in ("function", "kernel", "op") for values in given for v in values):
            return self._decorate(name, given[0])
        return frozenset({Value("decorator", name)})

    def _decorate(self, name: str, values: Values) -> Values:
        nodes = {value.node for value in values if value.kind == "function" and value.node}
        if name == "typing.overload":  # says what there is, and is never called
            return NOTHING
        if name in KERNELS:
            self.kernels |= nodes
            return frozenset(Value("kernel", node=node) for node in nodes) or values
        if name in _REGISTER:
            return self._op(values)
        if name in CACHES:
            self.cached |= nodes
        return values

    # ---- annotations

    def annotated(self, argument: ast.arg) -> Values:
        """What a parameter's annotation says of it."""
        return self.annotation(argument.annotation) if argument.annotation else ANY

    def annotation(self, node: ast.expr) -> Values:
        """What is annotated so; anything where it doesn't say."""
        return results.annotation(node, self.value)


def _is_pure(name: str) -> bool:
    """Whether a function gives what can't be changed."""
    return name in _PURE or name.startswith(("math.", "triton.", "typing.", f"{LIBRARY}.launch."))
