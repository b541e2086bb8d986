"""What an agent may spend, and what it has spent."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.agent.prices import Price, Usage, facts
from workbench.errors import LimitReached
from workbench.limits import FLAGS, Limits, phrase

# Tokens a reply may have at most, thinking among them.
MOST_OUTPUT = 32_000
# A reply that may have fewer isn't worth its prompt.
LEAST_OUTPUT = 1_024


@dataclass
class Spent:
    """What went so far."""

    turns: int = 0
    tokens: int = 0
    dollars: float = 0.0
    minutes: float = 0.0


class Budget:
    """Limits, and what has been spent of them, by a model of that price (None: unknown)."""

    def __init__(self, limits: Limits, price: Price | None) -> None:
        # What can't be counted is no limit.
        self.limits = limits if price is not None else limits.model_copy(update={"dollars": None})
        self.price = price
        self.spent = Spent()
        self.unpriced: set[str] = set()  # models whose replies cost nobody knows what
        self._open: tuple[str, Usage] | None = None

    def begun(self, model: str, usage: Usage) -> None:
        """A reply began. One that began before and never ended is paid for as well."""
        self.settle()
        self._open = model, usage

    def settle(self) -> None:
        """Pay for a reply that began and never ended."""
        if self._open is not None:
            self._pay(*self._open)
        self._open = None

    def replied(self, model: str, usage: Usage, seconds: float) -> None:
        """A reply ended: a turn."""
        self._open = None
        self._pay(model, usage)
        self.spent.turns += 1
        self.worked(seconds)

    def worked(self, seconds: float) -> None:
        """Time went by."""
        self.spent.minutes += seconds / 60

    def _pay(self, model: str, usage: Usage) -> None:
        price = facts(model).price
        self.spent.tokens += usage.tokens
        if price is not None:
            self.spent.dollars += price.of(usage)
        else:
            self.unpriced.add(model)

    def check(self) -> None:
        """Refuse another turn when a limit is reached.

        Raises:
            LimitReached: it is; which, and the flag that raises it.
        """
        for name, limit in self.limits.amounts.items():
            if getattr(self.spent, name) >= limit:
                raise LimitReached(f"the limit of {phrase(name, limit)} is reached", FLAGS[name])

    def output(self, prompt: int) -> int:
        """Tokens the next reply may have: with a prompt of so many tokens it stays within what is
        left, even if no cache has any of it.

        Raises:
            LimitReached: they are too few to go on.
        """
        self.check()
        room: dict[str, float] = {}
        if self.limits.tokens is not None:
            room["tokens"] = self.limits.tokens - self.spent.tokens - prompt
        if self.limits.dollars is not None and self.price is not None:
            left = self.limits.dollars - self.spent.dollars - prompt * self.price.dearest_input
            room["dollars"] = left / self.price.of(Usage(output=1))
        for name, tokens in room.items():
            if tokens < LEAST_OUTPUT:
                limit = phrase(name, self.limits.amounts[name])
                raise LimitReached(f"another turn may go beyond the limit of {limit}", FLAGS[name])
        return int(min([MOST_OUTPUT, *room.values()]))

    def left(self) -> str:
        """What is left, in words."""
        left = [
            phrase(name, round(max(0, limit - getattr(self.spent, name)), 2))
            for name, limit in self.limits.amounts.items()
        ]
        return ", ".join(left) or "no limit"

    def progress(self, turn: int, doing: str) -> str:
        """What it is at, in which turn, and what that took so far."""
        limits, dollars = self.limits, f"${self.spent.dollars:.2f}"
        of = f" of {limits.turns}" if limits.turns is not None else ""
        tokens = phrase("tokens", self.spent.tokens)
        most = f"{dollars} of ${limits.dollars:g}" if limits.dollars is not None else dollars
        cost = [most] if self.price is not None else []
        return " · ".join([f"turn {turn}{of}", doing, tokens, *cost])

    def facts(self) -> list[str]:
        """What was spent, a phrase each."""
        spent = self.spent
        dollars = [f"${spent.dollars:.2f}"] if self.price is not None else []
        return [phrase("turns", spent.turns), phrase("tokens", spent.tokens), *dollars]
