"""`workbench models`: which models of transformers the library serves."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Annotated

import typer

from workbench import session
from workbench.console import Terminal
from workbench.errors import UsageError, VerificationFailed
from workbench.models import Coverage, Row, coverage
from workbench.options import Json


def models(
    types: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TYPE]…", help="Build, patch and compare these now."),
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="All types, some minutes.")] = False,
    write: Annotated[
        bool, typer.Option("--write", help="With --all: keep what was seen, and its table.")
    ] = False,
    train: Annotated[
        bool, typer.Option("--train", help="Train these for some steps, too, in two dtypes.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show which of transformers' models the library serves: as committed, or tried now."""
    if train and not types:
        raise UsageError(
            "of what is to be trained no type is named", "workbench models llama --train"
        )
    if write and not every:
        raise UsageError(
            "only what was seen of all types is kept", "workbench models --all --write"
        )
    with Terminal(as_json) as terminal:
        root = session.engine(terminal).repository.root
        if train:
            _train(terminal, types or [])
            return
        found = _tried(terminal, types or [], every) if types or every else coverage.load(root)
        if as_json:
            terminal.answer(found.model_dump(mode="json"))
        else:
            _show(terminal, found)
        if write:
            terminal.facts("written", coverage.write(root, found))
        if wrong := found.of("wrong"):
            names = ", ".join(row.type for row in wrong)
            raise VerificationFailed(f"with the library these are not the same: {names}")


def _train(terminal: Terminal, types: Sequence[str]) -> None:
    """Train each type with the library and without, and say how far from the truth both are.

    Raises:
        VerificationFailed: one learns something else with the library, or can't be trained.
    """
    known = known_types(types)
    from workbench.models import census

    found = census.trained(known, _Counted(terminal, len(known)))
    failed = {kind: why for kind, why in found.items() if isinstance(why, str)}
    trained = {kind: t for kind, t in found.items() if not isinstance(t, str)}
    if terminal.as_json:
        dumped = {kind: [one.model_dump() for one in t] for kind, t in trained.items()}
        terminal.answer({**dumped, **failed})
    else:
        if trained:
            rows = [{"type": kind, **one.row()} for kind, t in trained.items() for one in t]
            terminal.table("training", rows)
        for kind, why in failed.items():
            terminal.facts(kind, [why])
    wrong = [*failed, *(kind for kind, t in trained.items() if not all(one.same for one in t))]
    if wrong:
        names = ", ".join(sorted(wrong))
        raise VerificationFailed(f"with the library these did not learn the same: {names}")


def _tried(terminal: Terminal, types: Sequence[str], every: bool) -> Coverage:
    """Each of these types, or all, built and compared.

    Raises:
        UsageError: transformers is not installed, or has no such type.
    """
    known = known_types(None if every else types)
    from workbench.models import census

    return census.census(known, _Counted(terminal, len(known)))


def known_types(types: Sequence[str] | None) -> list[str]:
    """These types, or all that there are.

    Raises:
        UsageError: transformers is not installed, or has no such type.
    """
    if find_spec("transformers") is None:
        hint = "pip install 'kernel-workbench[training]'"
        raise UsageError("transformers is not installed", hint)
    from workbench.models import tiny

    known = tiny.types()
    if unknown := [name for name in types or () if name not in known]:
        raise UsageError(
            f"transformers has no language model of type {unknown[0]!r}",
            "workbench models lists those there are",
        )
    return known if types is None else list(types)


class _Counted:
    """Says how many types are done."""

    def __init__(self, terminal: Terminal, count: int) -> None:
        self._terminal, self._count, self._done = terminal, count, 0

    def __call__(self, kind: str) -> None:
        self._done += 1
        self._terminal.doing(f"{self._done} of {self._count}: {kind}")


def _show(terminal: Terminal, found: Coverage) -> None:
    terminal.table("models", [_cells(row) for row in found.rows])
    terminal.out.print()
    for standing, meaning in coverage.MEANINGS.items():
        terminal.facts(str(len(found.of(standing))), [f"{standing}: {meaning}"])
    terminal.facts("seen", [found.device, *(f"{n} {v}" for n, v in found.versions.items())])


def _cells(row: Row) -> dict[str, str]:
    kinds = {
        kind: f"{row.served.get(kind, 0)} of {row.served.get(kind, 0) + row.left.get(kind, 0)}"
        for kind in sorted({*row.served, *row.left})
    }
    why = row.why or row.difference or "; ".join(row.reasons)
    return {
        "type": row.type,
        "served": row.standing,
        "modules": ", ".join(f"{kind} {count}" for kind, count in kinds.items()),
        "why": why,
    }
