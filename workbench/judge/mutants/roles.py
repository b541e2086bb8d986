"""What the names in a kernel stand for: values read from memory, places in memory, or masks.

Found by following names through assignments, without regard to their order. What is both a value
and part of a place counts as a place: a changed place could lie outside the tensor, and reading
there ends the process.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from workbench.judge.mutants.program import Function, called, names

LOADS = frozenset({"load", "load_tensor_descriptor"})
STORES = frozenset({"store", "store_tensor_descriptor", "atomic_add", "atomic_max", "atomic_min"})
REDUCTIONS = frozenset({"sum", "max", "min", "reduce", "argmax", "argmin", "cumsum", "xor_sum"})
_PLACES = frozenset({"make_block_ptr", "advance", "make_tensor_descriptor", "range"})
_ABOUT = frozenset({"dtype", "shape", "type", "element_ty"})


@dataclass(frozen=True)
class Access:
    """A load or a store: where, what is stored there, under which mask."""

    call: ast.Call
    place: ast.expr
    value: ast.expr | None
    mask: ast.expr | None

    @property
    def tensor(self) -> str:
        """The first name in the place, by custom the tensor's; a descriptor stands before."""
        described = isinstance(self.place, ast.List | ast.Tuple)
        return _first_name(self.call.func if described else self.place)


def access(node: ast.AST) -> Access | None:
    """The node as a load or a store, or None."""
    if not isinstance(node, ast.Call) or not (called(node) in LOADS | STORES and node.args):
        return None
    stores = called(node) in STORES
    given = {k.arg: k.value for k in node.keywords}
    value = (node.args[1] if len(node.args) > 1 else given.get("value")) if stores else None
    mask_at = 2 if stores else 1
    mask = node.args[mask_at] if len(node.args) > mask_at else given.get("mask")
    return Access(node, node.args[0], value, mask)


class Roles:
    """The roles in one kernel; `fed` are the parameters another kernel passes values in."""

    def __init__(self, function: Function, fed: frozenset[str] = frozenset()) -> None:
        self._function, self._fed = function, fed
        self._assigned = list(_assignments(function.node))
        self._flows = [(targets, _flow(value)) for targets, value in self._assigned]
        self.accesses = [a for node in ast.walk(function.node) if (a := access(node))]

    @cached_property
    def places(self) -> frozenset[str]:
        """Names that take part in where memory is accessed, or how often a loop runs."""
        seeds = [a.place for a in self.accesses]
        for node in ast.walk(self._function.node):
            if called(node) in _PLACES:
                seeds += [part for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
        return self._behind({name for seed in seeds for name in names(seed)})

    @cached_property
    def masks(self) -> frozenset[str]:
        """Names that take part in a mask."""
        return self._behind({n for a in self.accesses if a.mask for n in names(a.mask)})

    @cached_property
    def values(self) -> frozenset[str]:
        """Names computed from what was read from memory."""
        read = self._after(self._fed, lambda e: any(called(n) in LOADS for n in ast.walk(e)))
        return read - self.places

    @cached_property
    def positions(self) -> frozenset[str]:
        """Names computed from the number of the program or of the element."""
        return self._after(frozenset(), _counts)

    @cached_property
    def peaks(self) -> frozenset[str]:
        """Names that hold a row's maximum: what is subtracted before `exp`, and cancels."""
        first = {name for to, value in self._assigned if is_peak(value) for name in to}
        kept = [
            (to, _flow(value))
            for to, value in self._assigned
            if isinstance(value, ast.Name) or called(value) in ("maximum", "where")
        ]
        return _closed(first, lambda found: (to for to, flow in kept if flow & found))

    def is_value(self, node: ast.AST) -> bool:
        """Whether an expression is computed from what was read from memory."""
        return bool(_flow(node) & self.values) or any(called(n) in LOADS for n in ast.walk(node))

    def is_position(self, node: ast.AST) -> bool:
        """Whether it is computed from the number of the program or of the element."""
        return bool(_flow(node) & self.positions) or _counts(node)

    def computing(self) -> Iterator[ast.AST]:
        """The nodes that compute values: no places, masks, loop bounds or types."""
        for statement in self._function.node.body:
            yield from self._computing(statement)

    def placing(self) -> Iterator[ast.AST]:
        """The nodes that compute places."""
        for a in self.accesses:
            yield from ast.walk(a.place)
        for targets, value in self._assigned:
            if targets <= self.places and not any(access(n) for n in ast.walk(value)):
                yield from ast.walk(value)

    def bounds(self, mask: ast.expr) -> list[ast.Compare]:
        """The comparisons a mask consists of, those behind its names included."""
        behind = self._behind(names(mask))
        parts = [mask, *(value for targets, value in self._assigned if targets & behind)]
        found = [n for part in parts for n in ast.walk(part) if isinstance(n, ast.Compare)]
        return list(dict.fromkeys(found))

    def _computing(self, node: ast.AST) -> Iterator[ast.AST]:
        yield node
        for child in self._inner(node):
            yield from self._computing(child)

    def _inner(self, node: ast.AST) -> Iterable[ast.AST]:
        found = access(node)
        if found:
            return [found.value] if found.value else []
        if isinstance(node, ast.Assign | ast.AugAssign) and _targets(node) <= self.places:
            return []
        if isinstance(node, ast.For | ast.While | ast.If):
            return [*node.body, *node.orelse]
        if isinstance(node, ast.AnnAssign | ast.Assign | ast.AugAssign):
            return [node.value] if node.value else []
        about = isinstance(node, ast.Attribute) and node.attr in _ABOUT
        if about or (isinstance(node, ast.Compare) and is_guard(node)):
            return []
        return ast.iter_child_nodes(node)

    def _behind(self, seeds: Iterable[str]) -> frozenset[str]:
        """The names, and those they were assigned from."""
        return _closed(seeds, lambda found: (flow for to, flow in self._flows if to & found))

    def _after(self, seeds: Iterable[str], starts: Callable[[ast.AST], bool]) -> frozenset[str]:
        """The names, and those assigned from them or from an expression that `starts`."""
        first = {name for to, value in self._assigned if starts(value) for name in to}
        seeds = {*seeds, *first}
        return _closed(seeds, lambda found: (to for to, flow in self._flows if flow & found))


def _closed(seeds: Iterable[str], more: Callable[[set[str]], Iterable[set[str]]]) -> frozenset[str]:
    """The names and all that `more` adds to them, over and over."""
    found = set(seeds)
    while added := {name for names in more(found) for name in names} - found:
        found |= added
    return frozenset(found)


def all_roles(functions: Iterable[Function]) -> dict[Function, Roles]:
    """The roles in every kernel; a value passed to another kernel of the file is one there too."""
    kernels = {f.name: f for f in functions if f.is_kernel}
    fed: dict[str, frozenset[str]] = dict.fromkeys(kernels, frozenset())
    while True:
        roles = {f: Roles(f, fed[name]) for name, f in kernels.items()}
        found = {name: fed[name] | _fed(f, roles) for name, f in kernels.items()}
        if found == fed:
            return roles
        fed = found


def _fed(function: Function, roles: Mapping[Function, Roles]) -> frozenset[str]:
    found = set()
    parameters = [p.arg for p in function.parameters]
    for caller, known in roles.items():
        for node in ast.walk(caller.node):
            if isinstance(node, ast.Call) and called(node) == function.name:
                passed = [*zip(parameters, node.args, strict=False)]
                passed += [(k.arg, k.value) for k in node.keywords if k.arg]
                found |= {name for name, value in passed if known.is_value(value)}
    return frozenset(found)


def is_peak(node: ast.AST) -> bool:
    """Whether an expression takes a maximum over elements."""
    return any(
        called(n) == "max" or (called(n) == "reduce" and "maximum" in ast.unparse(n))
        for n in ast.walk(node)
    )


def is_guard(node: ast.AST) -> bool:
    """Whether a condition looks for what ordinary values never are: NaN, infinite, exactly 0."""
    for n in ast.walk(node):
        endless = isinstance(n, ast.Constant) and n.value in ("inf", "-inf", "nan")
        if endless or called(n) in ("isnan", "isinf"):
            return True
        if isinstance(n, ast.Compare) and isinstance(n.ops[0], ast.Eq | ast.NotEq):
            other = n.comparators[0]
            same = ast.unparse(n.left) == ast.unparse(other)
            if same or (isinstance(other, ast.Constant) and isinstance(other.value, float)):
                return True
    return False


def _first_name(node: ast.AST) -> str:
    """The leftmost name that isn't the module of another."""
    modules = {n.value for n in ast.walk(node) if isinstance(n, ast.Attribute)}
    found = [n for n in ast.walk(node) if isinstance(n, ast.Name) and n not in modules]
    return min(found, key=lambda n: (n.lineno, n.col_offset)).id if found else ast.unparse(node)


def _counts(node: ast.AST) -> bool:
    return any(called(n) in ("program_id", "arange") for n in ast.walk(node))


def _flow(node: ast.AST) -> set[str]:
    """The names whose values reach the expression's: not those that say where to read."""
    if access(node) or (isinstance(node, ast.Attribute) and node.attr in _ABOUT):
        return set()
    if isinstance(node, ast.Name):
        return {node.id}
    return {name for child in ast.iter_child_nodes(node) for name in _flow(child)}


def _assignments(function: ast.FunctionDef) -> Iterator[tuple[set[str], ast.expr]]:
    """Which names are given which expression; pairs of `a, b = c, d` apart."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign) and len(node.targets) == 1:
            yield from _pairs(node.targets[0], node.value)
        elif isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign) and node.value:
            yield _targets(node), node.value
        elif isinstance(node, ast.For):
            yield _stored(node.target), node.iter


def _pairs(target: ast.expr, value: ast.expr) -> Iterator[tuple[set[str], ast.expr]]:
    targets = target.elts if isinstance(target, ast.Tuple) else [target]
    values = value.elts if isinstance(value, ast.Tuple) else [value]
    if len(targets) != len(values):
        targets, values = [target], [value]
    for part, given in zip(targets, values, strict=True):
        yield _stored(part), given


def _targets(node: ast.Assign | ast.AugAssign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {name for target in targets for name in _stored(target)}


def _stored(target: ast.expr) -> set[str]:
    return {n.id for n in ast.walk(target) if isinstance(n, ast.Name)}
