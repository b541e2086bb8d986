"""What an author that asks a model may spend, and how hard it tries."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from pydantic import BaseModel, ConfigDict, NonNegativeInt, PositiveFloat, PositiveInt

# By which flag of `resume` each limit is raised.
FLAGS = {
    "turns": "--max-turns",
    "tokens": "--max-tokens",
    "dollars": "--max-cost",
    "minutes": "--max-minutes",
}
_PHRASES = {
    "turns": "{:,} turns",
    "tokens": "{:,} tokens",
    "dollars": "${:g}",
    "minutes": "{:g} minutes",
}


class Effort(StrEnum):
    """How hard a model tries, in the API's words."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"
    XHIGH = "xhigh"
    MAX = "max"


class Limits(BaseModel):
    """Limits of a run's author; None is no limit. `tokens` are sent and received ones together,
    `minutes` those it waited and worked, `repairs` how often it may mend what was found wrong.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    turns: PositiveInt | None = None
    tokens: PositiveInt | None = None
    dollars: PositiveFloat | None = None
    minutes: PositiveFloat | None = None
    repairs: NonNegativeInt = 3

    def changed(self, options: Mapping[str, Any]) -> Limits:
        """These limits, but for those that the options name."""
        given = {name: options[name] for name in type(self).model_fields if name in options}
        return self.model_copy(update=given)

    @property
    def amounts(self) -> dict[str, float]:
        """The limits there are of what is spent, by name."""
        found = {name: getattr(self, name) for name in FLAGS}
        return {name: amount for name, amount in found.items() if amount is not None}

    def words(self) -> list[str]:
        """The same, a phrase each."""
        return [phrase(name, amount) for name, amount in self.amounts.items()]


def phrase(name: str, amount: float) -> str:
    """So much of what a limit is about: 40 turns."""
    words = _PHRASES[name].format(amount)
    return words.removesuffix("s") if amount == 1 else words
