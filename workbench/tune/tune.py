"""The loop that makes an op faster: someone proposes, the judge decides what is timed, a race what
is kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from workbench.errors import VerificationFailed
from workbench.evidence import Evidence
from workbench.tune.notebook import Notebook
from workbench.tune.rules import Patience, faster, gain
from workbench.tune.wave import Idea, Settled, Times, Wave

# The records of what was judged, by digest: of ideas, and of the best so far if none is known.
Judge = Callable[[Idea, Evidence | None, Sequence[Idea]], Mapping[str, Evidence]]
# The records of a race of ideas against the best so far: one for each place where it was run.
Race = Callable[[Idea, Sequence[Idea]], Sequence[Evidence]]


class Proposer(Protocol):
    """Who has ideas."""

    def propose(self, best: Idea) -> Sequence[Idea]:
        """The next wave: what could be faster than the best so far; nothing, if there is none."""
        ...

    def settle(self, wave: Wave, noise: float) -> Settled:
        """What is best after it."""
        ...


@dataclass(frozen=True)
class Outcome:
    """What is best, why the search ended, and its times."""

    best: Idea
    waves: Sequence[Wave]
    stopped: str
    times: Times

    @property
    def records(self) -> list[Evidence]:
        """Everything that was judged and timed, each once."""
        found = {e.id: e for wave in self.waves for e in wave.verdicts.values()}
        return [*found.values(), *(race for wave in self.waves for race in wave.races)]


@dataclass
class Tuning:
    """One search. `floors` are those of what is timed, `times` those of the best so far."""

    judge: Judge
    race: Race
    notebook: Notebook
    patience: Patience
    times: Times
    floors: Times
    tell: Callable[[str], None] = lambda what: None

    def run(self, start: Idea, proposers: Sequence[Proposer]) -> Outcome:
        """Try what the proposers say, one proposer after the other.

        Raises:
            VerificationFailed: what it starts from is wrong.
        """
        best, waves, stopped = start, list[Wave](), ""
        for proposer in proposers:
            self.patience.anew()
            while not (stopped := self.patience.over(self.times, self.floors)):
                ideas = proposer.propose(best)
                ideas = ideas[: self.patience.room(len(ideas))]
                if not ideas:
                    stopped = "nothing is left to try"
                    break
                began = time.monotonic()
                wave = self._wave(len(waves) + 1, best, ideas, waves)
                if wave.problem(best):
                    best, stopped = self._without(best, wave, waves)
                    break
                waves.append(wave)
                settled = proposer.settle(wave, self.patience.noise)
                gained = gain(settled.ratios)
                self.notebook.settled(wave, settled, gained)
                self.patience.note(gained, time.monotonic() - began, len(ideas))
                self.times = {**self.times, **{r.where: r.seconds for r in settled.ratios}}
                best = settled.best
        self.notebook.ended(best, stopped)
        return Outcome(best, waves, stopped, self.times)

    def _wave(self, number: int, best: Idea, ideas: Sequence[Idea], waves: Sequence[Wave]) -> Wave:
        """Judge the best and the ideas, each if it was not yet, and time those that passed."""
        if (recalled := self.notebook.recall(number, best, ideas)) is not None:
            return recalled
        self.notebook.proposed(number, best, ideas)
        before = {digest: verdict for wave in waves for digest, verdict in wave.verdicts.items()}
        # A new best is judged beside one that is known: of the same code, most of it is too.
        known = waves[-1].best if waves and best.digest not in before else best
        fresh = {i.digest: i for i in (best, *ideas) if i.digest not in before}
        self.tell(f"wave {number}: judging {len(fresh)} variants")
        fresh.pop(known.digest, None)
        verdicts = before | dict(self.judge(known, before.get(known.digest), [*fresh.values()]))
        passed = [idea for idea in ideas if verdicts[idea.digest].passed]
        races: Sequence[Evidence] = ()
        if passed and verdicts[best.digest].passed:
            self.tell(f"wave {number}: timing {len(passed)} variants")
            races = self.race(best, passed)
        about = {idea.digest: verdicts[idea.digest] for idea in (best, *ideas)}
        wave = Wave(
            number=number, best=best, ideas=tuple(ideas), verdicts=about, races=tuple(races)
        )
        self.notebook.tried(wave)
        return wave

    def _without(self, best: Idea, wave: Wave, waves: Sequence[Wave]) -> tuple[Idea, str]:
        """The best without one that failed, and why the search ends with that: whatever was put
        together, each of its parts may be at fault.

        Raises:
            VerificationFailed: there is nothing before.
        """
        why = f"{best.name} failed: {wave.problem(best)}"
        if not waves:
            raise VerificationFailed(why, "mend it first: workbench verify says more")
        before, noise = waves[-1], self.patience.noise
        faster_ones = [i for i in before.ideas if faster(before.ratios(i), noise)]
        by_gain = sorted(faster_ones, key=lambda idea: gain(before.ratios(idea)))
        return (by_gain or [before.best])[-1], why
