"""Whether a narrow miss is bad luck: other values tell.

Where numbers cancel to less than any arithmetic keeps, an honest op may miss the bound by a little:
a layer_norm of two columns did once in 244 draws (2.55x, 2x is allowed), a divergence of nearly
equal distributions in one verdict of several (2.03x). What is wrong misses by more, or every time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice

from workbench.judge.trial import Trial, Trials
from workbench_kernels.bound import FACTOR, Comparison

# What misses by no more than this is tried with two other draws, and must be right in both.
NARROW = 2 * FACTOR
_OTHERS = (1, 2)

# Checks by name, whose trials are the same for every draw but for the values.
Checks = Callable[[int], Mapping[str, Trials]]


def by_several_draws(checks: Checks) -> dict[str, Trials]:
    """The checks of draw 0; trials that miss narrowly count as the same trials of other draws."""
    return {name: partial(_trials, checks, name) for name in checks(0)}


def _trials(checks: Checks, name: str) -> Iterator[Trial]:
    for number, trial in enumerate(checks(0)[name]()):
        yield Trial(trial.label, partial(_attempt, checks, name, number, trial))


def _attempt(checks: Checks, name: str, number: int, trial: Trial) -> list[Comparison]:
    found = trial.attempt()
    misses = [comparison.ratio for comparison in found if comparison.message]
    if not misses or max(misses) > NARROW:
        return found
    others = [next(islice(checks(draw)[name](), number, None)) for draw in _OTHERS]
    return [comparison for other in others for comparison in other.attempt()]
