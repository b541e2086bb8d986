"""Rules on names: what is imported, used, and reached through attributes."""

from __future__ import annotations

import ast
import re
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from sys import stdlib_module_names

from workbench.judge.scan.finding import Finding, shown
from workbench.judge.scan.names import (
    DANGEROUS,
    INITIALISERS,
    INSTEAD,
    INTROSPECTION,
    LIBRARY,
    ROOTS,
    TEST_ROOTS,
    reason,
    test_reason,
)
from workbench.judge.scan.results import LIMITS
from workbench.judge.scan.scopes import imported_from, set_field
from workbench.judge.scan.tensors import tensor_reason
from workbench.judge.scan.values import Value
from workbench.judge.scan.view import View

_DUNDERS = {
    "__name__", "__qualname__", "__module__", "__init__", "__version__", "__doc__", "__post_init__",
}  # fmt: skip
_BUILDING = ast.Name | ast.Attribute | ast.Subscript | ast.Tuple | ast.List | ast.BinOp
_ON_KERNEL = {"best_config", "warmup", "configs", "__name__"}
_ON_OP = {
    "default", "register_fake", "register_autograd", "register_kernel", "register_autocast",
    "register_vmap", "__name__",
}  # fmt: skip
_ON_LIBRARY = {"define", "impl", "ns", "kind"}
_OF_CONTAINERS = {name for kind in (list, dict, set, str, deque) for name in dir(kind)}
_TYPING = ("typing", "typing_extensions")
_LARGEST_ALIGNMENT = 4096
# `{0.name}` or `{name[0]}` in a text to be formatted.
_FIELD_OF_FIELD = re.compile(r"\{[^{}!:]*[.\[]")
_SOURCE = {"fn", "src", "raw_src", "handle", "ptr", "np_dtype"}


@dataclass(frozen=True)
class Policy:
    """The modules a file may import, and why a name may not be used."""

    who: str
    roots: frozenset[str]
    reason: Callable[[str], str]


OP = Policy("an op", ROOTS, reason)
OP_WITH_PRODUCTS = Policy("an op", ROOTS, partial(reason, products=True))
TEST = Policy("a test", frozenset(TEST_ROOTS), test_reason)
CODE = Policy("a recipe", ROOTS, test_reason)


def imports(policy: Policy, view: View) -> Iterator[Finding]:
    """Only modules that are served, each name by name; type checkers may read any."""
    for node in view.nodes(ast.Import):
        for alias in node.names if not _is_for_types(view, node) else []:
            yield from _imported(policy, view, node, alias.name)
    for source in view.nodes(ast.ImportFrom):
        if _is_for_types(view, source):
            continue
        base = imported_from(view.module, source)
        for alias in source.names:
            if alias.name == "*":
                why = f"import * hides what {policy.who} uses; name each import"
                yield view.finding(source, "star-import", why)
            origin = base if alias.name == "*" else f"{base}.{alias.name}"
            yield from _imported(policy, view, source, origin)


def names(policy: Policy, view: View) -> Iterator[Finding]:
    """What a name stands for, through any alias, must be served."""
    for node in view.nodes(ast.Name):
        if isinstance(node.ctx, ast.Load) and view.scope(node).owner(node.id) is None:
            if node.id == "print" and view.in_kernel(node):
                continue  # Triton's own
            for origin in view.origins(node):
                if why := policy.reason(origin):
                    yield view.finding(node, "builtin", f"{node.id} {why}")
    for chain in view.nodes(ast.Attribute):
        within = isinstance(view.module.parents[chain], ast.Attribute)
        if not within and isinstance(chain.ctx, ast.Load):
            yield from _origins(policy, view, chain)
    for pattern, matched in view.module.captured:
        for value in matched(view.program):
            if value.kind == "name" and (why := policy.reason(value.name)):
                yield view.finding(pattern, _rule(why), f"{value.name} {why}")


def indirect(policy: Policy, view: View) -> Iterator[Finding]:
    """getattr by a literal name only, type with one argument, no module handed around."""
    for node in view.nodes(ast.Name):
        call = view.module.parents[node]
        if "builtins.getattr" not in view.origins(node) or not isinstance(node.ctx, ast.Load):
            continue
        name = call.args[1] if isinstance(call, ast.Call) and len(call.args) > 1 else None
        if not (isinstance(name, ast.Constant) and isinstance(call, ast.Call)):
            yield view.finding(
                node, "getattr", "getattr by a name made up at run time; write the attribute out"
            )
        elif call.func is node:
            yield from _attribute(policy, view, call, call.args[0], str(name.value))
            yield from _origins(policy, view, call)
    yield from _formats(view)
    for call in view.nodes(ast.Call):
        asked = view.origins(call.func)
        if "builtins.type" in asked and len(call.args) != 1:
            yield view.finding(call, "class", "type() makes a class; write a class statement")
        if asked & {"builtins.hasattr", "builtins.getattr", "builtins.isinstance"}:
            continue
        for given in [*call.args, *(keyword.value for keyword in call.keywords)]:
            for origin in view.origins(given) & _MODULES:
                yield view.finding(
                    given, "module-value", f"the module {origin} is handed on; use what is in it"
                )


def _formats(view: View) -> Iterator[Finding]:
    """str.format reaches attributes by what its text says."""
    for node in view.nodes(ast.Attribute):
        if node.attr not in ("format", "format_map") or view.in_kernel(node):
            continue
        text = view.constant(node.value)
        if not isinstance(text, str) or _FIELD_OF_FIELD.search(text):
            why = "reaches attributes by a text; write an f-string"
            yield view.finding(node, "getattr", f"{shown(node)} {why}")


def attributes(policy: Policy, view: View) -> Iterator[Finding]:
    """Attributes of anything: no dunders, frames or source; of tensors only what is served."""
    for node in view.nodes(ast.Attribute):
        yield from _attribute(policy, view, node, node.value, node.attr)
    for pattern in view.nodes(ast.MatchClass):
        for name in pattern.kwd_attrs:
            yield from _attribute(policy, view, pattern, pattern, name)


def declared_types(view: View) -> Iterator[Finding]:
    """torch.library evaluates annotations that are strings, so they may only name types."""
    for node in view.module.annotations:
        if bad := _not_a_type(node):
            yield view.finding(
                node, "annotation", f"annotation {shown(bad)} is more than a type; name a type"
            )


_MODULES = {"torch", "triton", "triton.language", "torch.nn", "torch.cuda", "torch.library", "math"}


def _origins(policy: Policy, view: View, node: ast.expr) -> Iterator[Finding]:
    for origin in sorted(view.origins(node)):
        if policy is not TEST and origin in INITIALISERS and view.fills_parameters(node):
            continue
        if ".__" in origin:
            continue  # found as an attribute
        if why := policy.reason(origin):
            yield view.finding(node, _rule(why), f"{origin} {why}")
        elif policy is not TEST and view.in_kernel(node) and _is_host(origin):
            yield view.finding(
                node, "kernel", f"{origin} in a @triton.jit function; a kernel uses tl only"
            )


def _attribute(
    policy: Policy, view: View, node: ast.AST, base: ast.AST, name: str
) -> Iterator[Finding]:
    values = view.value(base) if not isinstance(base, ast.pattern) else frozenset({Value("any")})
    if name.startswith("__") and not _is_harmless_dunder(view, node, base, name):
        yield view.finding(
            node, "dunder", f"{name} reaches what the source doesn't show; leave it out"
        )
    elif name in INTROSPECTION or (name in _SOURCE and _may_be_kernel(values, view, node)):
        why = f"{shown(node)} looks at code, callers or a kernel's inside; leave it out"
        yield view.finding(node, "introspection", why)
    elif policy is not TEST:
        yield from _attribute_of_op(view, node, values, name)


def _attribute_of_op(
    view: View, node: ast.AST, values: frozenset[Value], name: str
) -> Iterator[Finding]:
    served = {"kernel": _ON_KERNEL, "op": _ON_OP, "library": _ON_LIBRARY}
    for value in values:
        if not value.depth and value.kind in served and name not in served[value.kind]:
            what = f"{shown(node)} goes around how an op or kernel is called"
            yield view.finding(node, "introspection", f"{what}; call it plainly")
    refused = tensor_reason(name)
    if not refused or view.in_kernel(node) or view.fills_parameters(node):
        return
    known = [value for value in values if value.kind != "none"]
    if known and all(_has_its_own(view, node, value, name) for value in known):
        return
    if not (name == "data_ptr" and _is_alignment(view, node)):
        yield view.finding(node, refused.rule, f"{shown(node)} {refused.why}")


def _has_its_own(view: View, node: ast.AST, value: Value, name: str) -> bool:
    """Whether a value has an attribute that only shares its name with a tensor's.

    An annotation alone is not believed: whatever it says, the value may be a tensor.
    """
    if value.depth or value.kind == "data":
        return name in _OF_CONTAINERS or value.name == LIMITS
    if value.kind in ("object", "class", "context"):
        call = view.module.parents[node]
        called = isinstance(call, ast.Call) and call.func is node
        kinds = {v.kind for v in view.program.attribute(value, name)}
        return view.program.declares(value, name) and not (called and kinds <= {"data", "none"})
    return value.kind not in ("any", "tensor", "method")


def _is_alignment(view: View, node: ast.AST) -> bool:
    """Whether an address is only looked at modulo a small number."""
    for around in view.module.ancestors(node):
        match around:
            case ast.BinOp(_, ast.Mod() | ast.BitAnd(), size):
                known = view.constant(size)
                return isinstance(known, int) and known <= _LARGEST_ALIGNMENT
            case ast.BinOp(_, ast.BitOr(), _):
                continue
            case ast.Call(function) if function is node:
                continue
            case _:
                return False
    return False


def _is_harmless_dunder(view: View, node: ast.AST, base: ast.AST, name: str) -> bool:
    if name in ("__init__", "__post_init__"):
        return isinstance(base, ast.Call) and "builtins.super" in view.origins(base.func)
    if name == "__setattr__":
        return "builtins.object" in view.origins(base) and _makes_a_field(view, node)
    if name in ("__enter__", "__exit__"):
        return view.method(node)[0] == name  # of one context within another
    if name == "__dict__":
        return _fills_a_text(view, node)
    if name == "__class__":
        around = view.module.parents[node]
        return isinstance(around, ast.Attribute) and around.attr == "__name__"
    return name in _DUNDERS


def _makes_a_field(view: View, node: ast.AST) -> bool:
    """Whether `object.__setattr__(self, "name", ...)` gives the object that is being made a field,
    as frozen dataclasses do; the scan follows it as it does `self.name = ...`.
    """
    call = view.module.parents[node]
    if not isinstance(call, ast.Call) or call.func is not node or not set_field(call):
        return False
    target = call.args[0]
    own = isinstance(target, ast.Name) and target.id == view.method(node)[1]
    kinds = {value.kind for value in view.value(target)}
    return own and view.is_making(node) and kinds == {"object"}


def _fills_a_text(view: View, node: ast.AST) -> bool:
    """Whether an object's attributes are named in a literal text, `"{a}".format(**node)`, as
    `extra_repr` of PyTorch's own modules does.
    """
    spread = view.module.parents[node]
    call = view.module.parents[spread]
    match spread, call:
        case ast.keyword(None), ast.Call(ast.Attribute(ast.Constant(str(text)), "format")):
            return not any(sign in text for sign in ".[")
        case _:
            return False


def _may_be_kernel(values: frozenset[Value], view: View, node: ast.AST) -> bool:
    kinds = {value.kind for value in values}
    ours = any(value.name.startswith(f"{LIBRARY}.") for value in values)
    return ours or bool(kinds & {"kernel", "any"}) or not kinds or view.in_kernel(node)


def _imported(policy: Policy, view: View, node: ast.stmt, origin: str) -> Iterator[Finding]:
    if _is_unused(view, node, origin):
        return
    root = origin.split(".")[0]
    if root in INSTEAD and root not in policy.roots:
        yield view.finding(node, "import", f"{origin} {INSTEAD[root]}")
    elif root not in policy.roots:
        served = ", ".join(sorted(policy.roots - {"builtins", "__future__"}))
        why = f"is not a module {policy.who} may import; it may import {served}"
        yield view.finding(node, "import", f"{origin} {why}")
    elif why := policy.reason(_member(view, origin)):
        yield view.finding(node, _rule(why), f"{origin} {why}")


def _is_unused(view: View, node: ast.stmt, origin: str) -> bool:
    """Whether it only imports a module of Python that no file mentions, as `import os` forgotten
    in a draft does.
    """
    alone = isinstance(node, ast.Import) and not any(alias.asname for alias in node.names)
    return alone and origin in (DANGEROUS | {*INSTEAD}) & stdlib_module_names - view.mentioned


def _is_for_types(view: View, node: ast.stmt) -> bool:
    """Whether it is below `if TYPE_CHECKING:`, and so never run."""
    inner: ast.AST = node
    for around in view.module.ancestors(node):
        if isinstance(around, ast.If) and inner in around.body:
            never = {Value("name", f"{module}.TYPE_CHECKING") for module in _TYPING}
            values = view.value(around.test)
            if values and values <= never and "TYPE_CHECKING" not in view.rebound:
                return True
        inner = around
    return False


def _member(view: View, origin: str) -> str:
    """What an import really brings, where a library module only passes it on."""
    module, _, name = origin.rpartition(".")
    brought = view.program.attribute(Value("name", module), name) if module else None
    known = [v.name for v in brought or () if v.kind == "name"]
    return known[0] if known else origin


def _is_host(origin: str) -> bool:
    host = ("torch.", "functools.", "itertools.", "contextlib.", "operator.")
    return origin.startswith(host) or origin.startswith(f"{LIBRARY}.op")


def _rule(why: str) -> str:
    return "torch-compute" if why.startswith("computes with PyTorch") else "name"


def _not_a_type(node: ast.AST) -> ast.AST | None:
    if isinstance(node, ast.Subscript):
        grouped = shown(node.value).rpartition(".")[2]
        parts = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
        if grouped in ("Literal", "Annotated"):
            noted = parts if grouped == "Literal" else parts[1:]
            types = parts[: len(parts) - len(noted)]
            odd = (part for part in noted if not _is_note(part))
            return next(odd, None) or next(filter(None, map(_not_a_type, types)), None)
    if isinstance(node, ast.Constant):
        return node if isinstance(node.value, str) and _not_parsed_as_type(node.value) else None
    if not isinstance(node, (_BUILDING, ast.expr_context, ast.BitOr)):
        return node
    return next(filter(None, map(_not_a_type, ast.iter_child_nodes(node))), None)


def _is_note(node: ast.expr) -> bool:
    """Whether it may stand where no type is asked for: a number, a text, or an enum's member."""
    bare = node.operand if isinstance(node, ast.UnaryOp) else node
    return isinstance(bare, ast.Constant) or _not_a_type(bare) is None


def _not_parsed_as_type(text: str) -> bool:
    try:
        return _not_a_type(ast.parse(text, mode="eval").body) is not None
    except (SyntaxError, ValueError):
        return True
