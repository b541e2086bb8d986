"""Timing several things in turn, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

Direction = Literal["forward", "backward", "both"]
# Seconds per call of one contender in one direction, by round.
Rounds = list[list[float]]


class Contender(Protocol):
    """Something that is timed at one size."""

    def samples(self, calls: int, direction: Direction) -> list[float]:
        """Seconds of each of so many calls."""


def interleave(
    contenders: Mapping[str, Contender],
    directions: Sequence[Direction],
    *,
    rounds: int,
    calls: int,
    chance: random.Random,
    turn: Callable[[int, str], AbstractContextManager[object]] = lambda done, name: nullcontext(),
) -> dict[str, dict[Direction, Rounds]]:
    """Seconds by contender and direction. In every round each contender has its turn, in an order
    drawn anew: nobody always comes after the same neighbour.

    A turn is taken inside what `turn` gives for the number of rounds that are done and the name. It
    may swallow an error and take the contender out of `contenders`: then that has no more turns,
    and nothing is said of it.
    """
    found: dict[str, dict[Direction, Rounds]] = {
        name: {direction: [] for direction in directions} for name in contenders
    }
    for done in range(rounds):
        for name in chance.sample(list(contenders), len(contenders)):
            with turn(done, name):
                for direction in directions:
                    found[name][direction].append(contenders[name].samples(calls, direction))
    return {name: found[name] for name in contenders}
