"""The static scan: what a candidate's source may not contain, found without importing it.

An op may use what `names` and `tensors` list and nothing else. Its author is told the line, the
reason and what to write instead; one finding fails the op. The judge's other checks look at what a
candidate does, this one at what it could do: kept results, fallbacks, PyTorch in a kernel's place,
and every way to reach what watches it.
"""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath

from workbench.judge.scan import compute, references, state, structure, suites
from workbench.judge.scan.finding import Finding
from workbench.judge.scan.names import LIBRARY
from workbench.judge.scan.program import Program
from workbench.judge.scan.references import CODE, OP, OP_WITH_PRODUCTS, TEST, Policy
from workbench.judge.scan.scopes import Module, read
from workbench.judge.scan.view import Rule, View

__all__ = ["Finding", "scan", "scan_code"]

_LONGEST = 200_000  # characters of a file; the longest honest one has a quarter of that


def _on_names(policy: Policy) -> list[Rule]:
    rules = (references.imports, references.names, references.indirect, references.attributes)
    return [partial(rule, policy) for rule in rules]


_OP_RULES: list[Rule] = [
    references.declared_types,
    compute.arithmetic, compute.values, compute.calls, compute.disguises,
    compute.kernel_calls, compute.wrapped_kernels,
    state.changes, state.mutations, state.iterators, state.warned, state.scopes, state.caches,
    structure.errors, structure.classes, structure.decorators, structure.coroutines,
    structure.at_import, structure.registrations,
]  # fmt: skip
_TEST_RULES: list[Rule] = [
    *_on_names(TEST), state.patches, structure.coroutines,
    suites.skips, suites.hooks, suites.fixtures, suites.broad_errors,
]  # fmt: skip


_CODE_RULES: list[Rule] = [
    *_on_names(CODE), state.changes, state.patches, state.caches, structure.coroutines
]  # fmt: skip


def scan_code(path: str, text: str) -> list[Finding]:
    """Every finding in a recipe's code, which puts modules together from torch and the library:
    what it may not reach, and what it may not keep or change.
    """
    parsed = _parse(path, text, "")
    found = [parsed] if isinstance(parsed, Finding) else _apply([parsed], _CODE_RULES)
    return sorted(set(found), key=lambda f: (f.line, f.rule, f.message))


def scan(files: Mapping[str, str], op: str) -> list[Finding]:
    """Every finding in a candidate's files, given by repository path, in order of file and line.

    The spec is not the candidate's, and passed over: it only tells whether the op has products.
    """
    written = [path for path in files if PurePosixPath(path).name != "spec.py"]
    products = any(_has_products(files[path]) for path in files if path not in written)
    parsed = [_parse(path, files[path], op) for path in written]
    found = [one for one in parsed if isinstance(one, Finding)]
    modules = [one for one in parsed if isinstance(one, Module)]
    tests = [module for module in modules if module.path.startswith("tests/")]
    # Apart, so that what tests pass to the op says nothing of what it is.
    rules = [*_on_names(OP_WITH_PRODUCTS if products else OP), *_OP_RULES]
    found += _apply([module for module in modules if module not in tests], rules)
    found += _apply(tests, _TEST_RULES)
    return sorted(set(found), key=lambda f: (f.file, f.line, f.rule, f.message))


def _apply(modules: list[Module], rules: list[Rule]) -> list[Finding]:
    try:
        program = Program(modules)
        if not program.settled:
            return [_too_much(modules[0].path, "hides what its names stand for; write it straight")]
        views = [View(module, program) for module in modules]
        return [finding for view in views for rule in rules for finding in rule(view)]
    except RecursionError:
        return [_too_much(modules[0].path, "is nested too deeply; write it flat")]


def _parse(path: str, text: str, op: str) -> Module | Finding:
    if len(text) > _LONGEST:
        return _too_much(path, f"is longer than {_LONGEST} characters; write it shorter")
    if declared := structure.encoding(text.splitlines()):
        why = f"the file declares the encoding {declared}; write UTF-8 and declare none"
        return Finding(file=path, line=1, rule="encoding", message=why)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(text.removeprefix("\ufeff"))
        tree.body = structure.when_imported(tree)
        return read(path, _module_name(path), op, tree)
    except SyntaxError as error:
        return Finding(
            file=path, line=error.lineno or 1, rule="syntax",
            message=f"{error.msg}; the file is not Python that can be parsed",
        )  # fmt: skip
    except (ValueError, MemoryError, RecursionError):
        return _too_much(path, "can't be parsed; write it flat, without null characters")


def _has_products(spec: str) -> bool:
    """Whether a spec says `products=True`, written out."""
    try:
        tree = ast.parse(spec)
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return False
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call))
    said = (k.value for call in calls for k in call.keywords if k.arg == "products")
    return any(isinstance(value, ast.Constant) and value.value is True for value in said)


def _module_name(path: str) -> str:
    parts = PurePosixPath(path).with_suffix("").parts
    return ".".join(parts[parts.index(LIBRARY) :] if LIBRARY in parts else parts)


def _too_much(path: str, why: str) -> Finding:
    return Finding(file=path, line=1, rule="syntax", message=f"the file {why}")
