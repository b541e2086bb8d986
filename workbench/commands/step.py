"""`workbench step`: how fast a model trains, as it is and patched."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from workbench import session
from workbench.commands.autopatch import read_config
from workbench.console import Terminal
from workbench.errors import UsageError, VerificationFailed
from workbench.options import Json


def step(
    kind: Annotated[str, typer.Argument(metavar="TYPE", help="Of transformers' models.")],
    config: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Its config.json; without, the type's defaults."),
    ] = None,
    batch: Annotated[str, typer.Option(metavar="ROWSxTOKENS")] = "8x4096",
    steps: Annotated[int, typer.Option(min=1, help="Timed, after two that are not.")] = 10,
    keep_attention: Annotated[
        float,
        typer.Option(min=0.0, metavar="GIB", help="Also with checkpoints that keep so much."),
    ] = 0.0,
    write: Annotated[bool, typer.Option("--write", help="Keep it, and its table.")] = False,
    as_json: Json = False,
) -> None:
    """Time a model's training step on a GPU: as transformers has it, with Liger, and patched."""
    from workbench.bench.bench import size
    from workbench.commands.models import known_types
    from workbench.jobs import lock
    from workbench.models import steps as timing
    from workbench.models import steps_table

    with Terminal(as_json) as terminal:
        root = session.engine(terminal).repository.root
        known_types([kind])
        rows, tokens = size(batch)
        setting = timing.Setting(
            type=kind,
            config={} if config is None else _read(config, kind),
            rows=rows,
            tokens=tokens,
        )
        kept = int(keep_attention * 2**30)
        with lock.own_gpu(lambda step: terminal.doing(step.what)):
            found = timing.measure(
                setting,
                steps,
                kept,
                lambda timed: terminal.doing(f"{steps_table.name(timed)} done"),
            )
        if as_json:
            terminal.answer(found.model_dump(mode="json"))
        else:
            terminal.facts("trained", steps_table.about(found))
            terminal.table("step", list(steps_table.rows(found)))
        if write:
            terminal.facts("written", steps_table.write(root, found))
        for timed in found.timed:
            if timed.trainer == timing.OURS and timed.problem:
                raise VerificationFailed(f"the patched model did not train: {timed.problem}")


def _read(file: Path, kind: str) -> dict[str, Any]:
    """What a model's config.json has beside its type.

    Raises:
        UsageError: it can't be read, or is of another type.
    """
    config = read_config(file)
    if config.get("model_type", kind) != kind:
        raise UsageError(f"{file} is no configuration of a {kind!r}", f"workbench step {kind}")
    from workbench.models import tiny

    return {name: value for name, value in config.items() if name not in tiny.NOT_ITS_OWN}
