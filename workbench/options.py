"""Options that several commands take."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from workbench.limits import Effort

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
On = Annotated[
    str, typer.Option(metavar="PLACE", help="Whose GPUs: local, ray, or ray://HOST:PORT.")
]
RunId = Annotated[str, typer.Argument(metavar="RUN", help="A run's id, or what it begins with.")]
Person = Annotated[str | None, typer.Option("--as", metavar='"NAME <EMAIL>"', help="Who you are.")]

# What a run asks of an author that asks a model.
MaxTurns = Annotated[int | None, typer.Option(min=1, help="Replies of the model, at most.")]
MaxTokens = Annotated[int | None, typer.Option(min=1, help="Sent and received, at most.")]
MaxCost = Annotated[float | None, typer.Option(min=0.001, metavar="DOLLARS", help="At most.")]
MaxMinutes = Annotated[float | None, typer.Option(min=0.01, help="Of waiting and work, at most.")]
Model = Annotated[str | None, typer.Option(help="Which model the author claude asks.")]
EffortOf = Annotated[Effort | None, typer.Option("--effort", help="How hard it tries.")]


def of_author(
    model: str | None,
    effort: Effort | None,
    turns: int | None,
    tokens: int | None,
    dollars: float | None,
    minutes: float | None,
) -> dict[str, Any]:
    """What was asked of the author, by the names it knows; what was not is not there."""
    given = {
        "model": model,
        "effort": effort,
        "turns": turns,
        "tokens": tokens,
        "dollars": dollars,
        "minutes": minutes,
    }
    return {name: value for name, value in given.items() if value is not None}
