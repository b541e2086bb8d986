"""`workbench tune`."""

from __future__ import annotations

from typing import Annotated

import typer

from workbench import session
from workbench.console import Terminal
from workbench.options import Json, On


def tune(
    op: Annotated[str, typer.Argument(metavar="OP", help="An op of the library.")],
    target: Annotated[
        list[str] | None,
        typer.Option(metavar="SHARE", help='Stop at a share of the floor, as in "fwd>=0.9".'),
    ] = None,
    minutes: Annotated[float | None, typer.Option(min=0.1, help="How long to search.")] = None,
    size: Annotated[
        list[str] | None, typer.Option(metavar="ROWSxCOLS", help="Instead of the spec's sizes.")
    ] = None,
    dtype: Annotated[str | None, typer.Option(help="As in bfloat16.")] = None,
    author: Annotated[str | None, typer.Option(help="Who rewrites it after the sweep.")] = None,
    on: On = "local",
    model: Annotated[str | None, typer.Option(help="Of GPU, where there are several.")] = None,
    as_json: Json = False,
) -> None:
    """Make an op faster on a GPU: variants are judged, then timed; the fastest is reviewed."""
    from workbench.bench.bench import plan
    from workbench.tune import stages

    with Terminal(as_json) as terminal:
        engine = session.engine(terminal)
        request = stages.request(
            engine.repository,
            op,
            target or (),
            minutes or stages.MINUTES,
            plan(dtype, size or (), None).sizes,
            dtype,
            author,
            on,
            model,
        )
        session.end(terminal, engine.start(request))
