"""Rules on a candidate's tests: they all run, on the op as it is, and look at its results only."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from workbench.judge.scan.finding import Finding, shown
from workbench.judge.scan.view import View

_BROAD = {"builtins.Exception", "builtins.BaseException", "builtins.AssertionError"}
_FIXTURES = {
    **dict.fromkeys(("monkeypatch", "mocker"), "changes the op or the library under test"),
    **dict.fromkeys(("tmp_path", "tmp_path_factory", "tmpdir"), "reads and writes files"),
    **dict.fromkeys(("pytestconfig", "pytester", "testdir", "cache"), "reaches the test run"),
}
_SKIPS = {"pytest.mark.skip", "pytest.mark.xfail", "pytest.xfail", "pytest.importorskip"}
_SKIPS_IF = {"pytest.mark.skipif", "unittest.skipIf", "unittest.skipUnless"}
_ASKS_FOR_GPU = ("torch.cuda.is_available", "torch.cuda.device_count", "torch.cuda.get_device_")
_CONDITION = (
    ast.Call, ast.Attribute, ast.Name, ast.UnaryOp, ast.Not, ast.Compare, ast.Constant,
    ast.cmpop, ast.expr_context, ast.Tuple, ast.BoolOp, ast.And, ast.Subscript,
)  # fmt: skip


def skips(view: View) -> Iterator[Finding]:
    """No test is left out, except where it needs a GPU and there is none."""
    for node in [*view.nodes(ast.Attribute), *view.nodes(ast.Name)]:
        origins = view.origins(node)
        if found := origins & _SKIPS:
            why = "leaves tests out; repair what they test, or skip on torch.cuda.is_available()"
            yield view.finding(node, "test-skip", f"{found.pop()} {why}")
        elif origins & _SKIPS_IF:
            call = view.module.parents[node]
            condition = _condition(call) if isinstance(call, ast.Call) else None
            if condition is None or not _asks_for_gpu(view, condition):
                yield view.finding(node, "test-skip", f"{shown(call)} {_SKIP}")
        elif isinstance(node, ast.Attribute) and node.attr == "skipTest":
            if not _is_guarded(view, node):
                yield view.finding(node, "test-skip", f"{shown(node)} {_SKIP}")
        elif "pytest.skip" in origins and not _is_guarded(view, node):
            yield view.finding(node, "test-skip", f"{shown(node)} {_SKIP}")


def hooks(view: View) -> Iterator[Finding]:
    """No hooks of pytest, no plugins: the run is the judge's."""
    names = [(n, n.name) for n in view.functions()]
    stored = [(n, n.id) for n in view.nodes(ast.Name) if isinstance(n.ctx, ast.Store)]
    pairs: list[tuple[ast.AST, str]] = [*names, *stored]
    for node, name in pairs:
        hook = name.startswith("pytest_") or name in ("__test__", "collect_ignore", "__getattr__")
        if hook:
            why = "changes the test run, which is the judge's; leave it out"
            yield view.finding(node, "test-hook", f"{name} {why}")


def fixtures(view: View) -> Iterator[Finding]:
    """No fixture that patches, reads files, or reaches the run."""
    for function in view.functions():
        for argument in ast.walk(function.args):
            if isinstance(argument, ast.arg) and argument.arg in _FIXTURES:
                what = f"{argument.arg} {_FIXTURES[argument.arg]}"
                yield view.finding(argument, "test-fixture", f"{what}; test the op by calling it")
    for node in view.nodes(ast.Attribute):
        if isinstance(node.value, ast.Name) and node.value.id == "request" and node.attr != "param":
            what = f"{shown(node)} reaches the test run"
            yield view.finding(node, "test-fixture", f"{what}; of request use param only")
    for call in view.nodes(ast.Call):
        if "pytest.mark.usefixtures" in view.origins(call.func):
            for name in (view.constant(argument) for argument in call.args):
                if name in _FIXTURES:
                    what = f"{name} {_FIXTURES[str(name)]}"
                    yield view.finding(call, "test-fixture", f"{what}; test the op by calling it")


def broad_errors(view: View) -> Iterator[Finding]:
    """No except that swallows a failed assertion."""
    for handler in view.nodes(ast.ExceptHandler):
        kinds = [handler.type] if handler.type else []
        kinds = kinds[0].elts if kinds and isinstance(kinds[0], ast.Tuple) else kinds
        if not kinds or any(view.origins(kind) & _BROAD for kind in kinds):
            yield view.finding(
                handler, "broad-except", "except swallows failed assertions; use pytest.raises"
            )


_SKIP = "leaves tests out; the condition must be torch.cuda.is_available() alone"


def _condition(call: ast.Call) -> ast.expr | None:
    """What a mark that skips tests asks."""
    named = [keyword.value for keyword in call.keywords if keyword.arg == "condition"]
    return next(iter([*call.args, *named]), None)


def _asks_for_gpu(view: View, condition: ast.expr) -> bool:
    """Whether a condition is true only for want of a GPU, or of one good enough."""
    match condition:
        case ast.BoolOp(ast.Or(), either):
            return all(_asks_for_gpu(view, part) for part in either)
        case ast.UnaryOp(ast.Not(), inner):
            return _asks_for_gpu(view, inner)
        case ast.Name(name) if name not in view.rebound and (given := view.assigned(condition)):
            return _asks_for_gpu(view, given)
    parts = [*ast.walk(condition)]
    if any(not isinstance(part, _CONDITION) for part in parts):
        return False
    if any(isinstance(getattr(part, "value", None), (bool, str)) for part in parts):
        return False
    origins = {o for part in parts if isinstance(part, ast.Attribute) for o in view.origins(part)}
    return any(origin.startswith(_ASKS_FOR_GPU) for origin in origins)


def _is_guarded(view: View, node: ast.AST) -> bool:
    return any(
        isinstance(around, ast.If) and _asks_for_gpu(view, around.test)
        for around in view.module.ancestors(node)
    )
