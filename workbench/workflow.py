"""A workflow: a short list of stages, loaded from `workflows/<name>.toml`."""

from __future__ import annotations

import tomllib
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from workbench.assets import asset
from workbench.errors import TemplateError
from workbench.layout import SUBJECTS, Subject


class Stage(BaseModel):
    """One step: an `agent` writes the candidate, a `check` judges it, a `review` is a person's, as
    is a `gate` before the agent.

    `attempts` is how often an agent may run when a later check fails and its author can repair.
    `does` names what is done, where that is not what the stage is called.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    kind: Literal["agent", "check", "gate", "review"]
    attempts: int = 1
    does: str = ""


class Workflow(BaseModel):
    """The stages in the order they run, and what a run is about: an op, or a model's recipe."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    about: Literal["op", "recipe"] = "op"
    stage: tuple[Stage, ...]

    def subject(self, name: str) -> Subject:
        """What a run of it is about that has this name."""
        return SUBJECTS[self.about](name)

    def agent(self) -> Stage | None:
        """The stage that writes the candidate."""
        return next((stage for stage in self.stage if stage.kind == "agent"), None)

    def of_kind(self, kind: str) -> Stage:
        """The one stage of a kind that there is one of.

        Raises:
            TemplateError: there is none.
        """
        found = next((stage for stage in self.stage if stage.kind == kind), None)
        if found is None:
            raise TemplateError(f"the workflow {self.name} has no {kind}")
        return found

    def is_about_candidate(self, stage: Stage) -> bool:
        """Whether the stage comes after the agent: its result is about the agent's files."""
        agent = self.agent()
        return agent is not None and self.stage.index(stage) > self.stage.index(agent)


def load(name: str) -> Workflow:
    """The workflow `workflows/<name>.toml`.

    Raises:
        TemplateError: there is none, or it is not a list of stages.
    """
    path = asset("workflows") / f"{name}.toml"
    try:
        return Workflow.model_validate({"name": name} | tomllib.loads(path.read_text()))
    except FileNotFoundError as error:
        names = ", ".join(sorted(p.stem for p in path.parent.glob("*.toml")))
        raise TemplateError(f"no workflow {name!r}", f"there are: {names}") from error
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise TemplateError(
            f"{path} is not a workflow: {error}", "compare it with kernel-dev.toml"
        ) from error
