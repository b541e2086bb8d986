"""Rewrites by an author that can: one at a time, with a hypothesis, from what was found so far."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from workbench.tune.rules import faster
from workbench.tune.wave import Idea, Settled, Sources, Wave


@dataclass(frozen=True)
class Findings:
    """What an author is told: the best sources so far, the spec they are judged by, where the time
    goes, and what was tried, in the words of the notebook.
    """

    op: str
    spec: str
    sources: Sources
    diagnosis: Sequence[str]
    notebook: str


@dataclass(frozen=True)
class Rewrite:
    """Files of the op written anew, why that should be faster, and the share of the time it should
    save.
    """

    hypothesis: str
    expected: float
    sources: Sources


class Improver(Protocol):
    """An author that can make an op faster."""

    name: str

    def improve(self, found: Findings) -> Rewrite | None:
        """Its next idea; None when it has none.

        Raises:
            AuthorError: its budget is spent.
        """
        ...


class Rewrites:
    """An author as a proposer of waves of one. `tell` says what it may know of the best so far."""

    def __init__(self, author: Improver, tell: Callable[[Idea], Findings]) -> None:
        self._author, self._tell, self._count = author, tell, 0

    def propose(self, best: Idea) -> list[Idea]:
        """The author's next idea. Files that are none of the candidate's are left out: the spec and
        the tests stay as they are.
        """
        rewrite = self._author.improve(self._tell(best))
        if rewrite is None:
            return []
        self._count += 1
        allowed = {name: text for name, text in rewrite.sources.items() if name in best.sources}
        return [
            Idea(
                name=f"{self._author.name} {self._count}",
                hypothesis=rewrite.hypothesis,
                expected=rewrite.expected,
                sources={**best.sources, **allowed},
            )
        ]

    def settle(self, wave: Wave, noise: float) -> Settled:
        """The idea, if it is faster and at nobody's expense."""
        for idea in wave.ideas:
            if faster(ratios := wave.ratios(idea), noise):
                return Settled(best=idea, ratios=tuple(ratios))
        return Settled(best=wave.best)
