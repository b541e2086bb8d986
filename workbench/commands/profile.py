"""`workbench profile`: what a run is about, where a person has to confirm that."""

from __future__ import annotations

import os
import shlex
import subprocess
from pathlib import Path
from typing import Annotated

import typer

from workbench import session
from workbench.console import Terminal
from workbench.errors import BadReference, UsageError
from workbench.options import Json, Person, RunId
from workbench.runs import gate

app = typer.Typer(
    name="profile", no_args_is_help=True, help="Look at a reference a model wrote, and confirm it."
)


@app.command()
def show(run: RunId, as_json: Json = False) -> None:
    """Show the reference, its profile and its tier."""
    with Terminal(as_json) as terminal:
        store = session.engine(terminal).store
        found = store.find(run)
        terminal.gate(gate.page(found, store.folder_of(found.id)))


@app.command()
def edit(
    run: RunId,
    reference: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Take this one; else $EDITOR opens it.")
    ] = None,
    tier: Annotated[int | None, typer.Option(help="The tier to build it as.")] = None,
    force_tier: Annotated[bool, typer.Option("--force-tier", help="Insist on --tier.")] = False,
    as_json: Json = False,
) -> None:
    """Change the reference or its tier; the new profile is to be confirmed."""
    from workbench import tiers

    if tier is not None:
        tiers.tier(tier)
    with Terminal(as_json) as terminal:
        engine = session.engine(terminal)
        found = engine.store.find(run)
        if problem := gate.no_change(found):
            raise problem
        text = None
        if reference is not None:
            text = _read(reference)
        elif tier is None:
            text = _edited(engine.store.folder_of(found.id))
        session.end(terminal, engine.change(run, text, tier, force_tier))


@app.command()
def confirm(
    run: RunId,
    person: Person = None,
    as_json: Json = False,
) -> None:
    """Freeze the reference and its profile as they were shown, and go on."""
    with Terminal(as_json) as terminal:
        engine = session.engine(terminal)
        session.end(terminal, engine.confirm(run, engine.repository.person(person)))


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadReference(f"{file} can't be read: {error}") from error


def _edited(folder: Path) -> str:
    """The reference as a person left it in their editor; they edit a copy, kept if it ends badly.

    Raises:
        UsageError: there is no editor, or it failed.
    """
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR")
    if not editor:
        raise UsageError(
            "no editor is named in $EDITOR", "export EDITOR=vi, or give a file: --reference FILE"
        )
    copy = gate.path(folder).with_stem("reference.edited")
    copy.write_text(gate.read(folder) or "", encoding="utf-8")
    try:
        done = subprocess.run([*shlex.split(editor), str(copy)], check=False)
    except OSError as error:
        raise UsageError(f"the editor {editor!r} can't be started: {error.strerror}") from error
    if done.returncode:
        raise UsageError(f"the editor {editor!r} failed; what was written is in {copy}")
    text = _read(copy)
    copy.unlink()
    return text
