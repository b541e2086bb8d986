"""`workbench revise`."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench import session
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


def revise(
    op: Annotated[str, typer.Argument(metavar="OP", help="An op of the library.")],
    words: Annotated[str, typer.Argument(metavar="WORDS", help="What to change.")],
    author: Annotated[str | None, typer.Option(help="claude, or replay:RUN.")] = None,
    model: Model = None,
    effort: EffortOf = None,
    max_turns: MaxTurns = None,
    max_tokens: MaxTokens = None,
    max_cost: MaxCost = None,
    max_minutes: MaxMinutes = None,
    as_json: Json = False,
) -> None:
    """Have an op of the library changed, its spec and tests kept as they are, up to your review."""
    from workbench.runs import revising, stages

    options = of_author(model, effort, max_turns, max_tokens, max_cost, max_minutes)
    with Terminal(as_json) as terminal:
        engine = session.engine(terminal)
        chosen = stages.author(author, options, engine.store)
        request = revising.request(engine.repository, op, words, chosen, options)
        session.end(terminal, engine.start(request))
