"""Timing several things in turn, so that what disturbs the machine disturbs all of them alike."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Literal, Protocol

Direction = Literal["forward", "backward", "both"]
# Seconds per call of one contender in one direction, by round.
Rounds = list[list[float]]


# Seconds by contender, direction and round.
Timed = Mapping[str, Mapping[Direction, Rounds]]
# In a race, who is slower than the fastest by this share even at best stops after so many rounds.
MARGIN, LEAST_ROUNDS = 0.10, 3


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
    beaten: Callable[[Timed], Collection[str]] = lambda found: (),
) -> dict[str, dict[Direction, Rounds]]:
    """Seconds by contender and direction. In every round each contender has its turn, in an order
    drawn anew: nobody always comes after the same neighbour.

    A turn is taken inside what `turn` gives for the number of rounds that are done and the name. It
    may swallow an error and take the contender out of `contenders`: then that has no more turns,
    and nothing is said of it. Those that `beaten` names after a round, of what was found so far,
    have no more turns either, and keep what they have.
    """
    found: dict[str, dict[Direction, Rounds]] = {
        name: {direction: [] for direction in directions} for name in contenders
    }
    out = set[str]()
    for done in range(rounds):
        racing = [name for name in contenders if name not in out]
        for name in chance.sample(racing, len(racing)):
            with turn(done, name):
                for direction in directions:
                    found[name][direction].append(contenders[name].samples(calls, direction))
        out |= set(beaten({name: found[name] for name in racing if name in contenders}))
    return {name: found[name] for name in contenders}


def beaten(found: Timed) -> set[str]:
    """Who can't win any more: in every direction far slower than the fastest, even at best."""
    medians = {
        name: {way: [statistics.median(one) for one in rounds] for way, rounds in ways.items()}
        for name, ways in found.items()
    }
    fastest: dict[Direction, float] = {}
    for ways in medians.values():
        for way, rounds in ways.items():
            if len(rounds) >= LEAST_ROUNDS:
                fastest[way] = min(statistics.median(rounds), fastest.get(way, math.inf))
    return {
        name
        for name, ways in medians.items()
        if fastest and all(min(ways[way]) > (1 + MARGIN) * best for way, best in fastest.items())
    }
