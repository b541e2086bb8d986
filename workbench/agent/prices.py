"""What the API counts of a reply, and what that costs."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, NonNegativeFloat, NonNegativeInt

from workbench.assets import read_toml

_FILE = Path(__file__).with_name("models.toml")
_MILLION = 1e6


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Usage(_Frozen):
    """The tokens of one request, as the API's usage fields say. `input` are those that no cache
    had or was given.
    """

    input: NonNegativeInt = 0
    cache_read: NonNegativeInt = 0
    cache_write_5m: NonNegativeInt = 0
    cache_write_1h: NonNegativeInt = 0
    output: NonNegativeInt = 0

    @property
    def prompt(self) -> int:
        """All tokens that were sent."""
        return self.input + self.cache_read + self.cache_write_5m + self.cache_write_1h

    @property
    def tokens(self) -> int:
        """All tokens, sent and received."""
        return self.prompt + self.output


class Price(_Frozen):
    """Dollars per million tokens of each kind."""

    input: NonNegativeFloat
    output: NonNegativeFloat
    cache_read: NonNegativeFloat
    cache_write_5m: NonNegativeFloat
    cache_write_1h: NonNegativeFloat

    def of(self, usage: Usage) -> float:
        """Dollars."""
        tokens = usage.model_dump()
        return float(sum(price * tokens[kind] for kind, price in self)) / _MILLION

    @property
    def dearest_input(self) -> float:
        """Dollars of a token that is sent, at worst."""
        return max(self.input, self.cache_read, self.cache_write_5m, self.cache_write_1h) / _MILLION


class ModelFacts(_Frozen):
    """What is known of a model: how it is asked to think, and its price."""

    thinking: Literal["adaptive"] | None = None
    price: Price | None = None


def facts(model: str) -> ModelFacts:
    """What is known of the model; nothing of one that isn't listed."""
    return _known().get(model, ModelFacts())


@cache
def _known() -> dict[str, ModelFacts]:
    return {name: ModelFacts.model_validate(entry) for name, entry in read_toml(_FILE).items()}
