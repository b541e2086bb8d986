"""What a measurement is at, told to whoever wants to show it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from workbench.bench.measurement import Point


@dataclass(frozen=True)
class Step:
    """`what` is done now, a size or a word; `done` of `sizes` are measured; `contender` is at it,
    `doing` what. `point` is a size that was just measured. `notice`: a person should know, also
    where nothing is drawn.
    """

    what: str
    done: int = 0
    sizes: int = 0
    contender: str = ""
    doing: str = ""
    point: Point | None = None
    notice: bool = False


Progress = Callable[[Step], None]


def nobody(step: Step) -> None:
    """Nobody watches."""
