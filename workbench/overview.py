"""The library and the runs at a glance, on a terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from workbench.phrases import age, note
from workbench.runs import Run, State

if TYPE_CHECKING:
    from workbench.inventory import Entry, Judged, Timed


COLOURS = {
    State.REVIEW: "yellow",
    State.PROFILE: "yellow",
    State.PARKED: "yellow",
    State.COMMITTED: "green",
    State.FAILED: "red",
}


def runs(runs: Sequence[Run]) -> list[Text]:
    """A line for each run."""
    width, lines = max((len(run.id) for run in runs), default=0), []
    for run in runs:
        line = Text(f"{run.id:<{width}}  ", style="bold")
        line.append(f"{run.state:<9}  ", style=COLOURS.get(run.state, "not bold"))
        line.append(f"{age(run.updated):>10}  {note(run, runs)}", style="not bold")
        lines.append(line)
    return lines


def table(library: Sequence[Entry]) -> Table:
    """The library, an op a line."""
    found = Table(box=None, pad_edge=False, header_style="dim")
    for name in ("op", "tier", "judged", "forward", "backward", "lost", "evidence"):
        right = name in ("tier", "forward", "backward", "lost")
        found.add_column(name, justify="right" if right else "left", no_wrap=True)
    for entry in library:
        judged, timed = entry.judged, entry.timed
        found.add_row(
            Text(entry.op, style="bold"),
            str(entry.tier or "?"),
            _verdict(judged),
            *_shares(timed),
            "" if timed is None else f"{timed.lost} of {timed.sizes}",
            "committed" if entry.committed else "kept here" if judged or timed else "none",
        )
    return found


def legend(library: Sequence[Entry]) -> list[str]:
    """What the table's numbers are."""
    gpus = sorted({entry.timed.on for entry in library if entry.timed is not None})
    facts = ["judged: where, and the worst error over eager's (and 2 ulp)"]
    if gpus:
        facts += ["forward, backward: share of the floor, over all sizes"]
        if any(entry.timed is not None and "both" in entry.timed.shares for entry in library):
            facts += ["both: where the forward computes gradients, too"]
        facts += ["lost: sizes at which a peer is faster", f"measured on {', '.join(gpus)}"]
    return facts


def _verdict(judged: Judged | None) -> Text:
    """Where an op was judged, and how exact it was there."""
    if judged is None:
        return Text("never", style="red")
    if not judged.passed:
        return Text("failed", style="bold red")
    words = judged.on.removeprefix("NVIDIA ").split()
    error = [] if judged.error is None else [f"{math.ceil(100 * judged.error) / 100:.2f}x"]
    return Text(" ".join([*words[:1], *error]))


def _shares(timed: Timed | None) -> tuple[str, str]:
    """Of the floor, over all sizes: the forward's and the backward's."""
    shares = {} if timed is None else timed.shares
    said = {way: f"{low:.2f}-{high:.2f}" for way, (low, high) in shares.items()}
    if "both" in said:
        return "both", said["both"]
    return said.get("forward", ""), said.get("backward", "")
