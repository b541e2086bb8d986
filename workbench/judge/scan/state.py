"""Rules on memory: nothing an op computed is kept for the next call, nothing of others changed."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from workbench.judge.scan.finding import Finding, shown
from workbench.judge.scan.program import A_TYPE
from workbench.judge.scan.scopes import Function, Scope
from workbench.judge.scan.tensors import WRITES
from workbench.judge.scan.values import Value, may_be_tensor
from workbench.judge.scan.view import View

_CHANGES = frozenset(
    """append appendleft add update setdefault pop popitem popleft clear extend extendleft insert
    remove discard move_to_end sort reverse rotate subtract send __next__ register_buffer
    register_parameter register_module add_module""".split()
)
_KEEP = "an op keeps nothing from one call to the next; pass it as an argument"
_PLAIN = {
    *("builtins.int builtins.bool builtins.float builtins.str builtins.complex".split()),
    *("torch.dtype torch.device torch.Size torch.memory_format torch.layout".split()),
}
_ITERATORS = {
    f"builtins.{name}" for name in ("iter", "map", "zip", "filter", "enumerate", "reversed")
}
_GROUPS = {"tuple", "frozenset", "Literal", "Optional", "Union", "Tuple"}


def changes(view: View) -> Iterator[Finding]:
    """Assignments and deletions that outlive the call, or change what was imported."""
    for node in view.all:
        if isinstance(node, ast.Attribute | ast.Subscript) and not isinstance(node.ctx, ast.Load):
            yield from _stored(view, node, node.value)


def patches(view: View) -> Iterator[Finding]:
    """Assignments to what was imported."""
    return (finding for finding in changes(view) if finding.rule == "patch")


def mutations(view: View) -> Iterator[Finding]:
    """Calls of methods that change what outlives the call."""
    for method in view.nodes(ast.Attribute):
        if method.attr in _CHANGES | WRITES and not _is_called_at_import(view, method):
            for why in filter(None, (_lives_on(view, base) for base in _changed(view, method))):
                yield view.finding(method, "state", f"{shown(method)} changes {why}; {_KEEP}")
    for added in view.nodes(ast.AugAssign):
        kinds = {value.kind for value in view.value(added.target)}
        if isinstance(added.target, ast.Name) and "state" in kinds and not view.at_import(added):
            yield view.finding(
                added, "state", f"{shown(added)} changes what outlives the call; {_KEEP}"
            )
    for call in view.nodes(ast.Call):
        if view.at_import(call):
            continue
        if "builtins.next" in view.origins(call.func) and call.args:
            kinds = {value.kind for value in view.value(call.args[0])}
            if "state" in kinds:
                yield view.finding(call, "state", f"{shown(call)} counts calls; {_KEEP}")


def warned(view: View) -> Iterator[Finding]:
    """warnings.warn keeps what it was given, so it is given nothing but text."""
    for node in [*view.nodes(ast.Attribute), *view.nodes(ast.Name)]:
        if "warnings.warn" not in view.origins(node):
            continue
        call = view.module.parents[node]
        given = call.args[:1] if isinstance(call, ast.Call) and call.func is node else []
        if not isinstance(next(iter(given), None), ast.JoinedStr | ast.Constant):
            why = "keeps what it is given; call it with a text written out"
            yield view.finding(node, "state", f"{shown(node)} {why}")


def iterators(view: View) -> Iterator[Finding]:
    """Nothing at the level of the file that changes by being read: no iterator, no defaultdict."""
    for node in view.all:
        if not isinstance(node, ast.Call | ast.GeneratorExp) or not view.at_import(node):
            continue
        if _is_iterator(view, node) and not _is_used_up(view, node):
            yield view.finding(node, "state", f"{shown(node)} is further on in every call; {_KEEP}")
        elif isinstance(node, ast.Call) and "collections.defaultdict" in view.origins(node.func):
            why = "grows when it is read; write a dict"
            yield view.finding(node, "state", f"{shown(node)} {why}")


def scopes(view: View) -> Iterator[Finding]:
    """No `global`, and no `nonlocal` that a call leaves behind."""
    for node in view.all:
        if isinstance(node, ast.Global | ast.Nonlocal):
            yield view.finding(node, "state", f"{shown(node)} outlives the call; {_KEEP}")


def caches(view: View) -> Iterator[Finding]:
    """functools.cache is for functions of plain numbers that return plain numbers."""
    for node in [*view.functions(), *view.nodes(ast.Lambda)]:
        if node in view.program.cached and (why := _keeps(view, node)):
            what = f"the cached {getattr(node, 'name', 'lambda')} {why}"
            why = f"{what}; cache functions of int, bool and dtype only"
            yield view.finding(node, "cache", why)


def _stored(view: View, node: ast.expr, base: ast.expr) -> Iterator[Finding]:
    values = view.value(base)
    others = {value.name for value in values if value.kind == "name" or value.name == A_TYPE}
    if names := sorted(others):
        why = f"{shown(node)} changes {names[0]}, which others use; call it as it is"
        yield view.finding(node, "patch", why)
    elif any(value.kind in ("kernel", "op", "library") for value in values):
        yield view.finding(node, "state", f"{shown(node)} is kept on a function; {_KEEP}")
    elif isinstance(node, ast.Attribute) and may_be_tensor(values):
        if not view.fills_parameters(node):
            yield view.finding(node, "state", f"{shown(node)} is kept on a tensor; {_KEEP}")
    elif not view.at_import(node) and (why := _lives_on(view, base)):
        yield view.finding(node, "state", f"{shown(node)} changes {why}; {_KEEP}")


def _lives_on(view: View, base: ast.expr) -> str:
    """Where a thing lives that is there for the next call too; empty for a local thing."""
    for value in view.value(base):
        if found := _home(value):
            return found
    root = base
    while isinstance(root, (ast.Attribute, ast.Subscript, ast.Call)):
        root = root.func if isinstance(root, ast.Call) else root.value
    if not isinstance(root, ast.Name):
        return ""
    method, own = view.method(base)
    if own and root.id == own and not view.is_making(base) and _is_object(view, root):
        return f"{own}, in {method}"
    owner = view.scope(base).owner(root.id)
    if owner and isinstance(owner.node, ast.Module):
        return f"{root.id}, at the level of the file"
    return root.id if owner and _is_handed_out(view, base, owner) else ""


def _home(value: Value) -> str:
    if value.kind == "state":
        return f"{value.name}, which outlives the call"
    if value.kind in ("function", "class") and not value.depth:
        return f"the {value.kind} {value.name}"
    return ""


def _is_object(view: View, root: ast.Name) -> bool:
    return any(value.kind in ("object", "class") for value in view.value(root))


def _is_handed_out(view: View, node: ast.AST, owner: Scope) -> bool:
    """Whether a variable of an outer function is changed by an inner one, which may outlive it."""
    inner = view.scope(node).function()
    if not owner.is_function or inner is None or inner is owner:
        return False
    for name in view.nodes(ast.Name):
        around = view.module.parents[name]
        called = isinstance(around, ast.Call) and around.func is name
        if not called and any(value.node is inner.node for value in view.value(name)):
            return True
    return isinstance(inner.node, ast.Lambda)


def _is_called_at_import(view: View, method: ast.Attribute) -> bool:
    around = view.module.parents[method]
    return isinstance(around, ast.Call) and around.func is method and view.at_import(method)


def _changed(view: View, method: ast.Attribute) -> list[ast.expr]:
    """What a method that changes something changes: its object, or its first argument."""
    values = view.value(method)
    if values and all(value.kind == "function" for value in values):
        return []  # found where it is defined
    origins = view.origins(method)
    if not origins:
        return [method.value]
    around = view.module.parents[method]
    of_builtin = any(origin.startswith("builtins.") for origin in origins)
    return around.args[:1] if of_builtin and isinstance(around, ast.Call) else []


def _is_iterator(view: View, node: ast.expr) -> bool:
    if isinstance(node, ast.GeneratorExp):
        return True
    if not isinstance(node, ast.Call):
        return False
    made = [v.node for v in view.value(node.func) if v.kind == "function" and v.node]
    yields = any(isinstance(part, ast.Yield) for f in made for part in ast.walk(f))
    origins = view.origins(node.func)
    return yields or any(map(_gives_iterator, origins))


def _gives_iterator(name: str) -> bool:
    counts = name in ("itertools.count", "itertools.cycle")  # refused by name
    return name in _ITERATORS or (name.startswith("itertools.") and not counts)


def _is_used_up(view: View, node: ast.AST) -> bool:
    """Whether an iterator is read to its end where it is made, or handed to who does that."""
    around = view.module.parents[node]
    match around:
        case ast.Call(function) if function is not node:
            names = view.origins(function)
            keeps = any(n == "functools.partial" or _gives_iterator(n) for n in names)
            return bool(names) and not keeps
        case ast.keyword():
            return True
        case ast.Assign(targets):
            return all(isinstance(target, ast.Tuple | ast.List) for target in targets)
        case ast.For(_, iterable) | ast.comprehension(_, iterable):
            return iterable is node
        case ast.Starred() | ast.FunctionDef() | ast.ClassDef() | ast.With() | ast.withitem():
            return True
        case _:
            return False


def _keeps(view: View, node: Function) -> str:
    """What keeps a function from being cached."""
    own = view.method(node.body[0])[1] if isinstance(node, ast.FunctionDef) else ""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    arguments += [a for a in (node.args.vararg, node.args.kwarg) if a]
    declared = getattr(node, "returns", None)
    if own and not (declared and _is_plain_type(view, declared)):
        return "is a method that is not declared to return plain numbers"
    for argument in arguments:
        if argument.arg == own:
            continue
        if argument.annotation:
            plain = _is_plain_type(view, argument.annotation)
        else:
            plain = _is_given_plain(view, node, argument)
        if not plain:
            return f"takes {argument.arg}, which is not declared a plain number"
    returned = view.program.returned(node)
    if any(value.kind == "tensor" for value in returned):
        return "returns a tensor, which is then shared by calls"
    return ""


def _is_given_plain(view: View, node: Function, argument: ast.arg) -> bool:
    """Whether all calls are known, and give a parameter without a type nothing but plain data."""
    given = [expression for expression, to in view.program.given.items() if argument in to]
    kinds = [{value.kind for value in view.value(expression)} for expression in given]
    plain = bool(kinds) and all(found and found <= {"data", "none"} for found in kinds)
    return plain and all(
        isinstance(call, ast.Call) and call.func is use and all(k.arg for k in call.keywords)
        for module in view.program.modules
        for use in module.scopes
        if isinstance(use, ast.Name | ast.Attribute) and isinstance(use.ctx, ast.Load)
        if any(value.node is node for value in view.value(use))
        for call in [module.parents[use]]
    )


def _is_plain_type(view: View, node: ast.expr) -> bool:
    match node:
        case ast.Constant(value):
            return value is None or value is ... or f"builtins.{value!s}" in _PLAIN
        case ast.BinOp(left, ast.BitOr(), right):
            return _is_plain_type(view, left) and _is_plain_type(view, right)
        case ast.Subscript(base, index):
            grouped = shown(base).rpartition(".")[2]
            parts = index.elts if isinstance(index, ast.Tuple) else [index]
            plain = all(_is_plain_type(view, part) for part in parts)
            return grouped == "Literal" or (grouped in _GROUPS and plain)
        case _:
            classes = [value.node for value in view.value(node) if value.kind == "class"]
            return bool(view.origins(node) & _PLAIN) or any(_is_record(view, c) for c in classes)


def _is_record(view: View, node: ast.AST | None) -> bool:
    """Whether a class holds plain numbers only, and leaves to Python what equals what."""
    body = node.body if isinstance(node, ast.ClassDef) else []
    own = {part.name for part in body if isinstance(part, ast.FunctionDef)}
    hints = [part.annotation for part in body if isinstance(part, ast.AnnAssign)]
    makes_itself = own & {"__init__", "__eq__", "__hash__", "__post_init__"}
    return bool(body) and not makes_itself and all(_is_plain_type(view, h) for h in hints)
