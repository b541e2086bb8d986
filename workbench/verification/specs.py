"""Reading a spec without running it: the op's name, and whether two say the same.

A docstring says nothing to the judge, so it may differ; every other token counts.
"""

from __future__ import annotations

import ast
import warnings

_OF_EVERY_SPEC = {
    "from __future__ import annotations",
    "from workbench_kernels.spec import OpSpec",
    "from workbench_kernels.spec import Traffic",
}
_CALLS = {"OpSpec", "Traffic"}


def op_name(spec: bytes) -> str | None:
    """The name in `SPEC = OpSpec(name="...")`; None where there is none to read."""
    module = _parse(spec)
    call = _spec_call(module) if module else None
    names = [k.value for k in call.keywords if k.arg == "name"] if call else []
    value = names[0].value if names and isinstance(names[0], ast.Constant) else None
    return value if isinstance(value, str) else None


def same(one: bytes, other: bytes) -> bool:
    """Whether two specs are the same code."""
    modules = _parse(one), _parse(other)
    if None in modules:
        return one == other
    first, second = (ast.dump(module) for module in modules if module)
    return first == second


def consists_of(spec: bytes, reference: str, symbol: str) -> bool:
    """Whether a spec is a reference's own text and a plain `SPEC` about it, and nothing more."""
    theirs, known = _parse(spec), _parse(reference.encode())
    call = _spec_call(theirs) if theirs else None
    if theirs is None or known is None or call is None:
        return False
    about = {k.arg: k.value.id for k in call.keywords if isinstance(k.value, ast.Name)}
    if about != {"reference": symbol, "inputs": "inputs"} or not _is_plain(call):
        return False
    theirs.body = [node for node in theirs.body if not _binds_spec(node)]
    return _imports(theirs) == _imports(known) and _code(theirs) == _code(known)


def _parse(text: bytes) -> ast.Module | None:
    """The module without docstrings; None for what isn't Python."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            module = ast.parse(text)
        ast.dump(module)  # what is nested too deeply shows here, not in the middle of a comparison
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    for node in ast.walk(module):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            documented = ast.get_docstring(node, clean=False) is not None
            node.body = node.body[1:] if documented else node.body
    return module


def _binds_spec(node: ast.stmt) -> bool:
    targets = node.targets if isinstance(node, ast.Assign) else []
    return [t.id for t in targets if isinstance(t, ast.Name)] == ["SPEC"] and len(targets) == 1


def _spec_call(module: ast.Module) -> ast.Call | None:
    """The call in the one statement `SPEC = OpSpec(...)`."""
    found = [n.value for n in module.body if isinstance(n, ast.Assign) and _binds_spec(n)]
    return found[0] if len(found) == 1 and isinstance(found[0], ast.Call) else None


def _is_plain(call: ast.Call) -> bool:
    """Whether nothing is called in it but the two records a spec is made of."""
    calls = [node.func for node in ast.walk(call) if isinstance(node, ast.Call)]
    return all(isinstance(func, ast.Name) and func.id in _CALLS for func in calls)


def _imports(module: ast.Module) -> set[str]:
    """What it imports, one statement for each name, but for what any spec does."""
    alone: list[ast.stmt] = []
    for node in module.body:
        if isinstance(node, ast.Import):
            alone += [ast.Import([alias]) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            alone += [ast.ImportFrom(node.module, [alias], node.level) for alias in node.names]
    return set(map(ast.unparse, alone)) - _OF_EVERY_SPEC


def _code(module: ast.Module) -> list[str]:
    return [ast.dump(n) for n in module.body if not isinstance(n, ast.Import | ast.ImportFrom)]
