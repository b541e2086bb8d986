"""`workbench new`."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench import session
from workbench.commands import attempts
from workbench.console import Terminal
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
from workbench.runs import cohorts


def new(
    name: Annotated[str, typer.Argument(help="Name of the op, as in rms_norm.")],
    tier: Annotated[int | None, typer.Option(help="Stop if the op is of another tier.")] = None,
    force_tier: Annotated[bool, typer.Option("--force-tier", help="Insist on --tier.")] = False,
    reference: Annotated[
        str | None,
        typer.Option(metavar="FILE.py:FUNC", help="What the op is; - reads it from stdin."),
    ] = None,
    describe: Annotated[
        str | None, typer.Option(metavar="WORDS", help="What it is, for a model to write down.")
    ] = None,
    from_class: Annotated[
        str | None,
        typer.Option("--from", metavar="PACKAGE:MODULE.CLASS", help="Whose forward it is."),
    ] = None,
    author: Annotated[
        str | None,
        typer.Option(help="claude (if there is an API key), draft, mcp, or replay:RUN."),
    ] = None,
    several: Annotated[
        int,
        typer.Option(
            "--attempts",
            min=1,
            max=cohorts.MOST,
            help="Have it written so often, side by side, each within the limits below; the judge "
            "ranks them, one can be approved.",
        ),
    ] = 1,
    model: Model = None,
    effort: EffortOf = None,
    max_turns: MaxTurns = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    max_minutes: MaxMinutes = None,
    as_json: Json = False,
) -> None:
    """Begin a run: analyze, generate, verify and bench an op, up to your review."""
    from workbench.runs import forms, stages

    options = of_author(model, effort, max_turns, max_tokens, max_cost, max_minutes)
    with Terminal(as_json) as terminal:
        engine = session.engine(terminal)
        engine.repository.check_new_op(name)
        wanted = forms.wanted(name, reference, describe, from_class)
        chosen = stages.author(author, options, engine.store)
        if several > 1:
            attempts.check(chosen, written_by_a_person=wanted is None)
        if wanted is None:
            request = stages.request(name, reference, tier, force_tier, chosen, options)
        else:
            request = forms.request(name, *wanted, tier, force_tier, chosen, options)
        if several > 1:
            attempts.begin(terminal, engine, request, several)
        else:
            session.end(terminal, engine.start(request))
