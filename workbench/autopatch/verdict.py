"""What was found of a recipe: the checks, and all that they were made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from workbench.autopatch import Anatomy
from workbench.judge.verdict import Verdict
from workbench.models.training import Training


class Planted(BaseModel):
    """A wrong kernel: the op, what was wrong with it, and how much more than allowed the training
    with it is off (over 1: it was noticed). `error` says why there was none.
    """

    model_config = ConfigDict(frozen=True)

    op: str
    plant: str
    excess: float
    error: str = ""

    @property
    def noticed(self) -> bool:
        """Whether a recipe with that kernel fails."""
        return bool(self.error) or self.excess > 1.0


class ModelVerdict(Verdict):
    """Whether a recipe is right, of a type of models named by `op`; of this configuration, if one
    was given.
    """

    anatomy: Anatomy
    config: Mapping[str, Any] = Field(default_factory=dict)
    trainings: tuple[Training, ...] = ()
    planted: tuple[Planted, ...] = ()
    ran: Mapping[str, int] = Field(default_factory=dict)

    def summary(self) -> list[str]:
        """The facts for one line of a report."""
        served, found = self.anatomy.counts
        facts = [f"{served} of {found} modules served"]
        if self.trainings:
            worst = max(training.excess for training in self.trainings)
            names = " ".join(training.dtype for training in self.trainings)
            steps = self.trainings[0].steps
            facts.append(f"trained {steps} steps in {names}: {worst:.2f} of what is allowed")
        if self.planted:
            noticed = sum(one.noticed for one in self.planted)
            facts.append(f"{noticed} of {len(self.planted)} planted wrong kernels noticed")
        facts.append(f"{len(self.failures)} of {len(self.checks)} checks failed")
        if self.interpreted:
            facts.append("interpreter: no GPU involved")
        return facts

    def unknown(self) -> list[str]:
        """What nobody knows, and what is left alone."""
        said = [f"{check.name}: {check.message}" for check in self.skipped]
        said += [
            f"{c.name}: {c.message}" for c in self.checks if c.status == "passed" and c.message
        ]
        said += [f"{p.short} ({p.kind}) is left alone: {p.reason}" for p in self.anatomy.left]
        said += [f"{one.name} is seen by no rule: {one.looks}" for one in self.anatomy.unseen]
        if self.interpreted:
            said.insert(0, "whether it is right on a GPU: trained in Triton's interpreter")
        return said

    def tables(self) -> dict[str, list[dict[str, Any]]]:
        """Rows for a reviewer."""
        return {
            "modules": [part.row() for part in self.anatomy.parts],
            "training": [training.row() for training in self.trainings],
        }
