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
    as_json: Json = False,
) -> None:
    """Show which of transformers' models the library serves: as committed, or tried now."""
    if write and not every:
        raise UsageError(
            "only what was seen of all types is kept", "workbench models --all --write"
        )
    with Terminal(as_json) as terminal:
        root = session.engine(terminal).repository.root
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


def _tried(terminal: Terminal, types: Sequence[str], every: bool) -> Coverage:
    """Each of these types, or all, built and compared.

    Raises:
        UsageError: transformers is not installed, or has no such type.
    """
    if find_spec("transformers") is None:
        raise UsageError(
            "transformers is not installed", "pip install 'kernel-workbench[training]'"
        )
    from workbench.models import census, tiny

    known = tiny.types()
    if unknown := [name for name in types if name not in known]:
        raise UsageError(
            f"transformers has no causal language model of type {unknown[0]!r}",
            "workbench models lists those there are",
        )
    chosen, done = known if every else list(types), 0

    def told(row: Row) -> None:
        nonlocal done
        done += 1
        terminal.doing(f"{done} of {len(chosen)}: {row.type}")

    return census.census(chosen, told)


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
