"""A cohort as a person or a program looks at it: how its runs rank, and what each has cost."""

from __future__ import annotations

from pydantic import BaseModel

from workbench.agent.spending import spent
from workbench.limits import phrase
from workbench.runs import Run, State, cohorts, ranking
from workbench.runs.store import Store


class Standing(BaseModel):
    """One of the runs at its rank: what it is ranked by, in words, and what it spent so far.

    `dollars` is None where no price is known; `place` is None before it reached the review.
    """

    run: str
    number: int
    place: int | None
    state: State
    found: dict[str, str]
    turns: int
    tokens: int
    dollars: float | None
    reason: str


class Standings(BaseModel):
    """All of a cohort's runs, the best first, and why that is so. `timed`: by times, before all
    else; `going`: not all have ended.
    """

    cohort: str
    op: str
    first: str | None
    why: str
    criteria: list[str]
    timed: bool
    going: bool
    landed: str | None
    runs: list[Standing]

    @property
    def cost(self) -> str:
        """What all of them spent together."""
        dollars = [standing.dollars for standing in self.runs]
        tokens = phrase("tokens", sum(standing.tokens for standing in self.runs))
        known = [f"${sum(filter(None, dollars)):.2f}"] if None not in dollars else []
        return " · ".join([tokens, *known])


def of(store: Store, runs: list[Run]) -> Standings:
    """How the runs of a cohort stand now.

    Raises:
        EvidenceError: a record was changed.
        StorageError: what was said can't be read.
    """
    known = {run.id: run for run in runs}
    found = ranking.rank(
        [ranking.attempt_of(run, store.evidence(run=run.id)) for run in known.values()]
    )
    landed = cohorts.landed(runs)
    going = any(run.state is State.OPEN for run in runs)
    return Standings(
        cohort=runs[0].request.cohort.id if runs[0].request.cohort else runs[0].id,
        op=runs[0].op,
        first=found.first.run if found.first is not None else None,
        why=f"so far, {found.why}" if going else found.why,
        criteria=[criterion.name for criterion in found.criteria],
        timed=found.timed,
        going=going,
        landed=landed.id if landed is not None else None,
        runs=[
            _standing(store, known[attempt.run], attempt, place, found.criteria)
            for place, attempt in enumerate(found.attempts, 1)
        ],
    )


def _standing(
    store: Store,
    run: Run,
    attempt: ranking.Attempt,
    place: int,
    criteria: tuple[ranking.Criterion, ...],
) -> Standing:
    budget = spent(store.folder_of(run.id))
    return Standing(
        run=run.id,
        number=attempt.number,
        place=place if attempt.reached else None,
        state=run.state,
        found={c.name: c.cell(attempt) for c in criteria},
        turns=budget.spent.turns,
        tokens=budget.spent.tokens,
        dollars=None if budget.unpriced else round(budget.spent.dollars, 4),
        reason=run.reason,
    )
