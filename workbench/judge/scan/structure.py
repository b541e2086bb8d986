"""Rules on the shape of the source: errors are raised, imports do nothing, classes are plain."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator

from workbench.judge.scan.finding import Finding, shown
from workbench.judge.scan.names import LIBRARY
from workbench.judge.scan.scopes import Function, Scope
from workbench.judge.scan.tensors import MAKERS
from workbench.judge.scan.view import View

_METHODS = {
    "__init__", "__post_init__", "__repr__", "__str__", "__call__", "__eq__", "__hash__", "__len__",
    "__iter__", "__contains__", "__getitem__", "__reversed__", "__bool__", "__int__", "__float__",
    "__index__", "__ne__", "__lt__", "__le__", "__gt__", "__ge__", "__enter__",
}  # fmt: skip
# What else of this form may be assigned: words about a file, and what a class declares.
_WORDS = {
    "__all__", "__doc__", "__docformat__", "__version__", "__author__", "__email__", "__license__",
    "__copyright__", "__credits__", "__maintainer__", "__status__", "__date__", "__slots__",
    "__match_args__", "__constants__",
}  # fmt: skip
_BASES = {
    "torch.nn.Module", "torch.nn.modules.module.Module", "torch.nn.modules.Module",
    "torch.autograd.Function", "torch.autograd.function.Function", "typing.NamedTuple",
    "typing.Protocol", "typing.TypedDict", "typing.Generic", "abc.ABC", "builtins.object",
    "enum.Enum", "enum.IntEnum", "enum.StrEnum", "enum.Flag", "enum.IntFlag", "builtins.str",
    "builtins.int",
}  # fmt: skip
_ENUMS = {"builtins.str", "builtins.int"}
_IMPORT_ERRORS = {"builtins.ImportError", "builtins.ModuleNotFoundError"}
# What a look-up or a conversion raises: these may be raised again in other words.
_LOOKUP_ERRORS = {
    f"builtins.{name}Error" for name in ("Key", "Index", "Lookup", "Value", "Type", "Attribute")
}
_OTHERS = re.compile(
    "^(aten|prims?|rngprims|quantized|_?c10d(_functional)?|inductor|mkldnn|onednn|sparse|profiler|"
    "torchvision|torchaudio|fbgemm|flash_attn|symm_mem|higher_order|debugprims)::"
)
_REGISTERS = {
    f"torch.library.{name}"
    for name in (
        "custom_op triton_op define impl register_fake register_kernel register_autograd "
        "register_autocast register_vmap impl_abstract"
    ).split()
}
_DEFINES = {f"{LIBRARY}.op.define", f"{LIBRARY}.op.autograd"}
_BEHIND = "changes what Python or PyTorch do behind the source; leave it out"
_ALL_REGISTER = _REGISTERS | _DEFINES | {"torch.library.Library"}


def errors(view: View) -> Iterator[Finding]:
    """No error is caught: what fails must be seen to fail, and nothing takes its place."""
    for node in view.all:
        if not isinstance(node, ast.Try | ast.TryStar):
            continue
        hides = [handler for handler in node.handlers if not _raises_another(view, handler)]
        if hides and not _chooses_import(view, node):
            why = "except hides a failure or runs something in its place; check beforehand instead"
            yield view.finding(hides[0], "try-except", why)
        for left in (part for statement in node.finalbody for part in ast.walk(statement)):
            if isinstance(left, ast.Return | ast.Break | ast.Continue):
                why = "leaving a finally drops the error; put it after the finally"
                yield view.finding(left, "try-except", f"{shown(left)} {why}")


def classes(view: View) -> Iterator[Finding]:
    """Classes hold parameters and data; none changes what Python or PyTorch do with it."""
    for node in view.nodes(ast.ClassDef):
        typed = any("typing.TypedDict" in view.origins(base) for base in node.bases)
        for keyword in node.keywords:
            if typed and keyword.arg == "total" and isinstance(keyword.value, ast.Constant):
                continue  # a plain class all the same
            yield view.finding(node, "class", f"{keyword.arg}= runs code; write a plain class")
        enum = any(o.startswith("enum.") for base in node.bases for o in view.origins(base))
        for base in node.bases:
            bare = base.value if isinstance(base, ast.Subscript) else base
            yield from _base(view, bare, enum)
    for function in view.functions():
        if function.name == "__exit__" and not _lets_errors_pass(function):
            why = "can swallow an error; return None or False, written out"
            yield view.finding(function, "class", f"def __exit__ {why}")
        elif _is_special(function.name) and function.name not in _METHODS | {"__exit__"}:
            yield view.finding(function, "class", f"def {function.name} {_BEHIND}")
    for scope in [view.module.top, *view.module.inner.values()]:
        yield from _assigned(view, scope)


def decorators(view: View) -> Iterator[Finding]:
    """Decorators are those that are served, the file's own functions, and an op's registrations."""
    for node in [*view.functions(), *view.nodes(ast.ClassDef)]:
        for decorator in node.decorator_list:
            bare = decorator.func if isinstance(decorator, ast.Call) else decorator
            kinds = {value.kind for value in view.value(bare)}
            if isinstance(bare, ast.Attribute):
                kinds |= {v.kind for v in view.value(bare.value)} & {"op", "library", "function"}
            if not kinds & {"name", "function", "op", "library", "decorator", "class"}:
                why = "is a decorator of unknown origin; use one that is imported or defined here"
                yield view.finding(decorator, "decorator", f"@{shown(decorator)} {why}")


def coroutines(view: View) -> Iterator[Finding]:
    """An op has no business with coroutines."""
    kinds = ast.AsyncFunctionDef | ast.AsyncFor | ast.AsyncWith | ast.Await
    for node in view.all:
        if isinstance(node, kinds):
            yield view.finding(node, "async", "async puts work off; write a plain function")


def at_import(view: View) -> Iterator[Finding]:
    """Importing an op registers it and does nothing else; it works where there is no GPU."""
    for call in view.nodes(ast.Call):
        if view.at_import(call) and (why := _acts(view, call, set())):
            what = f"{shown(call)} {why} when imported"
            yield view.finding(call, "import-time", f"{what}; do it when the op is called")


def registrations(view: View) -> Iterator[Finding]:
    """Only the op itself is registered: under the library's name, its own name first."""
    for node in view.nodes(ast.Constant):
        if isinstance(node.value, str) and _OTHERS.match(node.value):
            why = f"belongs to others; register below {LIBRARY}::{view.module.op}"
            yield view.finding(node, "op-name", f"{node.value!r} {why}")
    for call in view.nodes(ast.Call):
        origins = view.origins(call.func)
        if origins & _ALL_REGISTER and not _is_run_at_import(view, call):
            why = "registers during a call, by which results can be kept; do it in the file itself"
            yield view.finding(call, "op-name", f"{shown(call)} {why}")
        if "torch.library.Library" in origins:
            yield from _namespace(view, call)
        elif origins & (_REGISTERS | _DEFINES):
            yield from _registered(view, call, full=bool(origins & _REGISTERS))
        elif _is_on_library(view, call.func):
            yield from _registered(view, call, full=False, known=False)


def _base(view: View, base: ast.expr, enum: bool) -> Iterator[Finding]:
    known = {value.kind for value in view.value(base)} & {"class"}
    origins = view.origins(base)
    if "torch.Tensor" in origins:
        why = "a subclass of Tensor can put work off or change what is compared; return a Tensor"
        yield view.finding(base, "class", why)
    elif not known and not any(_may_inherit(origin, enum) for origin in origins):
        why = "is not a class an op may inherit from; use nn.Module, Function, NamedTuple or Enum"
        yield view.finding(base, "class", f"{shown(base)} {why}")


def _assigned(view: View, scope: Scope) -> Iterator[Finding]:
    """Special names that are bound other than by `def`."""
    defined = Counter(f.name for f in view.functions() if view.module.scopes[f] is scope)
    for name, bindings in scope.bindings.items():
        if not _is_special(name) or name in _METHODS | _WORDS:
            continue
        if len(bindings) > defined[name]:
            yield view.finding(scope.node, "class", f"assigning {name} {_BEHIND}")


def _is_special(name: str) -> bool:
    return name.startswith("__") and name.endswith("__")


def _lets_errors_pass(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether an `__exit__` surely returns nothing true."""
    parts = [*_run(function)]
    returned = [part.value for part in parts if isinstance(part, ast.Return) and part.value]
    never = all(isinstance(value, ast.Constant) and not value.value for value in returned)
    yields = any(isinstance(part, ast.Yield | ast.YieldFrom) for part in parts)
    return never and not yields and not function.decorator_list


def _may_inherit(origin: str, enum: bool) -> bool:
    if origin in _ENUMS:
        return enum
    return origin in _BASES or (origin.startswith("builtins.") and origin.endswith("Error"))


def _chooses_import(view: View, node: ast.Try | ast.TryStar) -> bool:
    """Whether it only looks for a module where different versions have it."""
    bodies = [node.body, *(handler.body for handler in node.handlers)]
    only = all(isinstance(s, (ast.Import, ast.ImportFrom)) for body in bodies for s in body)
    caught = [view.origins(handler.type) if handler.type else set() for handler in node.handlers]
    return only and all(origins and origins <= _IMPORT_ERRORS for origins in caught)


def _raises_another(view: View, handler: ast.ExceptHandler) -> bool:
    """Whether it only says in other words what failed: the call ends in an error all the same."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    named = all(kind and view.origins(kind) for kind in kinds)
    caught = {origin for kind in kinds if kind for origin in view.origins(kind)}
    only = len(handler.body) == 1 and isinstance(handler.body[0], ast.Raise)
    return named and only and caught <= _LOOKUP_ERRORS


def _acts(view: View, call: ast.Call, seen: set[ast.AST]) -> str:
    """What a call does beyond making plain data; empty if nothing."""
    for value in view.value(call.func):
        leaf = value.name.removeprefix("torch.")
        if value.kind in ("launch", "kernel"):
            return "launches a kernel"
        if value.kind == "op":
            return "calls an op"
        if value.kind == "method" or (value.kind == "name" and leaf in MAKERS):
            return "makes or uses a tensor"
        if value.kind == "name" and value.name.startswith("torch.cuda."):
            return "asks for a GPU"
        if value.kind == "function" and value.node and value.node not in seen:
            seen.add(value.node)
            for inner in _run(value.node):
                if isinstance(inner, ast.Call) and (why := _acts(view, inner, seen)):
                    return why
    return ""


def _run(function: ast.AST) -> Iterator[ast.AST]:
    """The nodes that run when a function is called: not the bodies of those that it defines."""
    waiting = [*ast.iter_child_nodes(function)]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, Function):
            waiting += ast.iter_child_nodes(node)
        elif not isinstance(node, ast.Lambda):
            waiting += [*node.decorator_list, *node.args.defaults]


def _is_run_at_import(view: View, node: ast.AST) -> bool:
    """Whether it is in the file itself, or in a function that the file calls when imported."""
    function = view.scope(node).function()
    if function is None:
        return view.at_import(node)
    at_import = (c for c in view.nodes(ast.Call) if view.at_import(c))
    called = {value.node for call in at_import for value in view.value(call.func)}
    decorating = {
        value.node
        for one in [*view.functions(), *view.nodes(ast.ClassDef)]
        if view.at_import(one)
        for decorator in one.decorator_list
        for value in view.value(decorator)
    }
    return function.node in called | decorating


def _namespace(view: View, call: ast.Call) -> Iterator[Finding]:
    given = [*call.args, *(k.value for k in call.keywords if k.arg == "ns")]
    name = view.constant(given[0]) if given else None
    if name != LIBRARY:
        yield view.finding(
            call, "op-name", f"{shown(call)} registers among others' ops; write {LIBRARY!r} here"
        )


def _registered(view: View, call: ast.Call, *, full: bool, known: bool = True) -> Iterator[Finding]:
    """`full`: named with a namespace; `known`: named by a literal."""
    arguments = call.args
    if arguments and any(value.kind == "library" for value in view.value(arguments[0])):
        arguments, full = arguments[1:], False  # what is registered is named within the library
    if not arguments or _is_op(view, arguments[0]):
        return
    name = view.constant(arguments[0])
    if not isinstance(name, str):
        if known:
            why = f"registers an op whose name is not written out; name it {_own(view, full)!r}"
            yield view.finding(call, "op-name", f"{shown(call)} {why}")
        return
    namespace, _, bare = name.rpartition("::")
    mine = re.search(rf"(^|_){re.escape(view.module.op)}($|[^a-zA-Z0-9])", bare)
    if not mine or namespace not in ({LIBRARY} if full else {"", LIBRARY}):
        why = f"is not this op; name what you register {_own(view, full)!r}, or that and a suffix"
        yield view.finding(arguments[0], "op-name", f"{name!r} {why}")


def _is_on_library(view: View, function: ast.expr) -> bool:
    if not isinstance(function, ast.Attribute) or function.attr not in ("define", "impl"):
        return False
    return any(value.kind == "library" for value in view.value(function.value))


def _is_op(view: View, node: ast.expr) -> bool:
    values = view.value(node)
    named = any(o.startswith(f"torch.ops.{LIBRARY}.") for o in view.origins(node))
    return named or any(value.kind == "op" for value in values)


def _own(view: View, full: bool) -> str:
    return f"{LIBRARY}::{view.module.op}" if full else view.module.op


def when_imported(tree: ast.Module) -> list[ast.stmt]:
    """A file's statements less `if __name__ == "__main__":`, unless it can be that file."""
    for node in ast.walk(tree):
        named = [getattr(node, "name", ""), getattr(node, "asname", ""), getattr(node, "rest", "")]
        named += node.names if isinstance(node, ast.Global) else []
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            named.append(node.id)
        if "__name__" in named:
            return tree.body
    return [statement for statement in tree.body if not _is_for_main(statement)]


def _is_for_main(statement: ast.stmt) -> bool:
    match statement:
        case ast.If(
            ast.Compare(ast.Name("__name__"), [ast.Eq()], [ast.Constant("__main__")]), _, []
        ):
            return True
        case _:
            return False


def encoding(lines: Iterable[str]) -> str:
    """The encoding a file declares, if it is another than the one it was read in."""
    for line in [*lines][:2]:
        found = re.match(r"^[ \t\f]*#.*?coding[:=][ \t]*([-\w.]+)", line)
        if found and found[1].lower().replace("_", "-") not in ("utf-8", "utf8", "ascii"):
            return found[1]
    return ""
