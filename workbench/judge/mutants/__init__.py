"""Mutants of a candidate: the same files with one thing wrong, which its own tests must notice.

A suite that passes on a mutant doesn't test what the mutant changed. The neutral version has
nothing wrong, only other words: a suite that fails on it looks at the text and not at what it does.
Nothing here runs the candidate.
"""

from __future__ import annotations

import ast
import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Mapping

from pydantic import BaseModel, ConfigDict

from workbench.judge.mutants import arithmetic, host, memory, stores
from workbench.judge.mutants.change import Change, Program, apply
from workbench.judge.mutants.neutral import neutral
from workbench.judge.mutants.program import Function, functions
from workbench.judge.mutants.roles import Roles, all_roles

__all__ = ["KINDS", "Mutant", "mutants", "neutral"]

# In the order they get their turn.
KINDS = (
    "zero output",
    "missing gradient",
    "sign",
    "dropped tail",
    "lower precision",
    "ignored parameter",
    "doubled gradient",
    "missing step",
    "swapped arguments",
    "stride",
    "constant",
    "dropped function",
    "wrong reduction",
    "comparison",
    "dropped refusal",
)

_IN_KERNELS: tuple[Callable[[Function, Roles], Iterator[Change]], ...] = (
    stores.zero_output,
    stores.missing_gradient,
    stores.doubled_gradient,
    stores.negated,
    stores.lower_precision,
    memory.dropped_tail,
    memory.stride,
    arithmetic.sign,
    arithmetic.swapped_arguments,
    arithmetic.comparison,
    arithmetic.constant,
    arithmetic.dropped_function,
    arithmetic.missing_step,
    arithmetic.wrong_reduction,
)
_OUTSIDE: tuple[Callable[[Function, Program], Iterator[Change]], ...] = (
    host.missing_gradient,
    host.doubled_gradient,
    host.dropped_tail,
    host.ignored_parameter,
    host.dropped_refusal,
)


class Mutant(BaseModel):
    """A candidate with one thing wrong: `source` is the whole text of the changed `file`."""

    model_config = ConfigDict(frozen=True)

    name: str
    kind: str
    file: str
    line: int
    description: str
    source: str


def mutants(files: Mapping[str, str], *, most: int = 20) -> list[Mutant]:
    """At most `most` mutants of the files `kernel.py` and `wrapper.py`, the same ones every time.

    Each kind gets a turn after the other, and takes it in the function that was changed least.

    Raises:
        SyntaxError: a file isn't Python.
    """
    trees = {name: ast.parse(source) for name, source in files.items()}
    waiting: dict[str, list[tuple[str, Change]]] = {kind: [] for kind in KINDS}
    for name, change in _named(_changes(trees)):
        waiting[change.kind].append((name, change))
    for found in waiting.values():
        # Anything but the order of the lines: else the first of each function is all that is tried.
        found.sort(key=lambda one: hashlib.sha256(one[0].encode()).digest())
    chosen: dict[str, Mutant] = {}
    taken: Counter[tuple[str, str]] = Counter()
    while len(chosen) < most and any(waiting.values()):
        for found in filter(None, waiting.values()):
            mutant = _next(found, taken, trees, files)
            if mutant and len(chosen) < most:
                chosen.setdefault(mutant.source, mutant)
    return list(chosen.values())


def _next(
    found: list[tuple[str, Change]],
    taken: Counter[tuple[str, str]],
    trees: Mapping[str, ast.Module],
    files: Mapping[str, str],
) -> Mutant | None:
    """Take the next of a kind, from the function that was changed least."""
    while found:
        least = min(found, key=lambda one: taken[_place(one[1])])
        found.remove(least)
        name, change = least
        source = apply(change, files[change.function.file])
        if _differs(source, trees[change.function.file]):
            taken[_place(change)] += 1
            return _mutant(name, change, source)
    return None


def _changes(trees: Mapping[str, ast.Module]) -> Iterator[Change]:
    found = functions(trees)
    roles = all_roles(found)
    wrapper = trees.get("wrapper.py", ast.Module([], []))
    program = Program(tuple(found), host.numbers_by_default(wrapper))
    for function in found:
        if function.is_kernel:
            for kind in _IN_KERNELS:
                yield from kind(function, roles[function])
        else:
            for change in _OUTSIDE:
                yield from change(function, program)


def _named(changes: Iterator[Change]) -> Iterator[tuple[str, Change]]:
    """Every change with the name it keeps however many are chosen."""
    seen: Counter[str] = Counter()
    for change in changes:
        name = f"{change.kind.replace(' ', '-')}@{change.function.file}:{change.node.lineno}"
        seen[name] += 1
        yield name if seen[name] == 1 else f"{name}.{seen[name]}", change


def _differs(source: str, original: ast.Module) -> bool:
    """Whether it is a program at all, and another one."""
    try:
        tree = ast.parse(source)
        compile(tree, "<mutant>", "exec", dont_inherit=True)
    except (SyntaxError, ValueError):
        return False
    return ast.dump(tree) != ast.dump(original)


def _place(change: Change) -> tuple[str, str]:
    return change.function.file, change.function.name


def _mutant(name: str, change: Change, source: str) -> Mutant:
    return Mutant(
        name=name,
        kind=change.kind,
        file=change.function.file,
        line=change.node.lineno,
        description=change.description,
        source=source,
    )
