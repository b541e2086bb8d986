"""`workbench autopatch`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from workbench import session
from workbench.console import Terminal
from workbench.errors import UsageError, VerificationFailed
from workbench.options import (
    EffortOf,
    Json,
    MaxCost,
    MaxMinutes,
    MaxTokens,
    MaxTurns,
    Model,
    of_author,
)


def autopatch(
    kind: Annotated[
        str | None, typer.Argument(metavar="[TYPE]", help="A type of transformers' models.")
    ] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A model's config.json: its type, as it is.")
    ] = None,
    leave: Annotated[
        list[str] | None, typer.Option(metavar="CLASS", help="Leave its modules alone.")
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Whether recipes still fit the installed transformers.")
    ] = False,
    author: Annotated[str | None, typer.Option(help="draft, claude, or replay:RUN.")] = None,
    model: Model = None,
    effort: EffortOf = None,
    max_turns: MaxTurns = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    max_minutes: MaxMinutes = None,
    as_json: Json = False,
) -> None:
    """Prove that the library serves a type of models, and write the recipe of it, up to your
    review.
    """
    from workbench.autopatch import stages as autopatching
    from workbench.runs import stages

    options = of_author(model, effort, max_turns, max_tokens, max_cost, max_minutes)
    with Terminal(as_json) as terminal:
        if check:
            _check(terminal, [kind] if kind else [])
            return
        named, given = _named(kind, config)
        engine = session.engine(terminal)
        chosen = stages.author(author, options, engine.store)
        request = autopatching.request(named, given, leave or (), chosen, options)
        session.end(terminal, engine.start(request))


def _check(terminal: Terminal, kinds: list[str]) -> None:
    """Look whether recipes still fit.

    Raises:
        VerificationFailed: one does not.
    """
    from workbench.autopatch import drift

    found = drift.check(session.engine(terminal).repository.root, kinds, terminal.doing)
    if terminal.as_json:
        terminal.answer({"recipes": [one.model_dump() for one in found]})
    else:
        for one in found:
            said = [*one.wrong, *one.changed] or ["as it was"]
            style = "bold red" if one.wrong else "bold"
            terminal.facts(one.type, [f"made for transformers {one.made_for}", *said], style)
        if not found:
            terminal.facts("recipes", ["none yet:  workbench autopatch TYPE"])
    if wrong := [one.type for one in found if one.wrong]:
        raise VerificationFailed(
            f"these recipes are not so any more: {', '.join(wrong)}",
            f"workbench autopatch {wrong[0]} makes it anew",
        )


def _named(kind: str | None, config: Path | None) -> tuple[str, dict[str, Any]]:
    """The type, and the configuration if one is given.

    Raises:
        UsageError: neither says which type, or both do, differently.
    """
    given = {} if config is None else read_config(config)
    named = given.get("model_type")
    if kind is None and not isinstance(named, str):
        raise UsageError(
            f"{config} names no model_type" if config else "no type of models is named",
            "workbench autopatch llama, or --config config.json",
        )
    if kind is not None and named not in (None, kind):
        raise UsageError(f"{config} is of the type {named!r}, not {kind!r}", "name one of them")
    return kind or str(named), given


def read_config(file: Path) -> dict[str, Any]:
    """What a model's config.json has.

    Raises:
        UsageError: it can't be read, or is none.
    """
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"{file} can't be read as a configuration: {error}") from error
    if not isinstance(found, dict):
        raise UsageError(f"{file} is no configuration: it is no JSON object")
    return found
