"""The authors that talk to a model: Claude, and a stored run played again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from workbench import tiers
from workbench.agent import defining, patching, prompts, revising, spending
from workbench.agent.budget import Budget
from workbench.agent.checks import EngineChecks
from workbench.agent.conversation import Conversation
from workbench.agent.files import Files
from workbench.agent.model import Model, ReplayModel
from workbench.agent.prices import facts
from workbench.agent.tools import Checks, Toolbox
from workbench.agent.transcript import FILE, Transcript, replies
from workbench.authors import (
    KEY,
    REPLAY,
    Assignment,
    Defined,
    Patching,
    Revision,
    Wanted,
    Written,
)
from workbench.authors.spec import spec
from workbench.errors import UsageError
from workbench.layout import op_paths, recipe
from workbench.limits import Effort, Limits, phrase
from workbench.repository import content_of

MODEL = "claude-opus-5-5"
Task = Assignment | Wanted | Revision | Patching


class Options(BaseModel):
    """What a run may ask of its author, beside the limits of its tier."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    model: str = MODEL
    effort: Effort | None = None

    @property
    def asked_effort(self) -> Effort | None:
        """The effort to ask for; of a model that nothing is known of, none."""
        known = Effort.HIGH if facts(self.model).thinking is not None else None
        return self.effort or known


class AgentAuthor:
    """An author that lets a model write the op with tools."""

    name = ""

    def write(self, assignment: Assignment) -> Written:
        """Let the model write kernel.py, wrapper.py and the test; the spec is the engine's.

        Raises:
            LimitReached: what it may spend is spent.
            AuthorError: the model can't be asked, or won't go on.
        """
        profile, root = assignment.profile, assignment.root
        model, limits = self._model(assignment), self._limits(assignment)
        files, budget = Files(root, profile.op), Budget(limits, facts(model.name).price)
        path = Path(op_paths(profile.op)[0]) / "spec.py"
        text = spec(profile, assignment.reference)
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
        spending.count(assignment.folder, budget)
        conversation = Conversation(
            model,
            Toolbox(files, self._checks(assignment)),
            Transcript(assignment.folder / FILE),
            budget,
            assignment.tell,
        )
        repairs = [
            prompts.repair(assignment, number, limits) for number in range(len(assignment.findings))
        ]
        task = prompts.task(assignment, text, budget.limits)
        with defining.parked(assignment.run, budget):
            conversation.run(prompts.system(assignment), task, repairs, prompts.attempt(assignment))
        written = [path, *(file.relative_to(root) for file in files.written.values())]
        return Written(
            paths=tuple(written),
            facts=self._facts(model, budget),
            unknown=self._unknown(budget),
            repairs=len(assignment.findings) < limits.repairs,
        )

    def define(self, wanted: Wanted) -> Defined:
        """Let the model write a reference.

        Raises:
            LimitReached: what it may spend is spent.
            AuthorError: the model can't be asked, or won't go on.
        """
        model = self._model(wanted, defining.FILE)
        return defining.define(wanted, model, self._limits(wanted))

    def revise(self, revision: Revision) -> Written:
        """Let the model change kernel.py and wrapper.py.

        Raises:
            LimitReached: what it may spend is spent.
            AuthorError: the model can't be asked, or won't go on.
        """
        model, limits = self._model(revision), self._limits(revision)
        checks = EngineChecks(revision.root, revision.op, revision.tell)
        budget = revising.revise(revision, model, limits, checks)
        folder = Path(op_paths(revision.op)[0])
        return Written(
            paths=tuple(folder / name for name in revising.OWN),
            facts=self._facts(model, budget),
            unknown=self._unknown(budget),
            repairs=len(revision.findings) < limits.repairs,
        )

    def patch(self, asked: Patching) -> Written:
        """Let the model write the recipe.

        Raises:
            LimitReached: what it may spend is spent.
            AuthorError: the model can't be asked, or won't go on.
        """
        model, limits = self._model(asked), self._limits(asked)
        budget = patching.patch(asked, model, limits)
        return Written(
            paths=tuple(map(Path, content_of(asked.root, recipe(asked.anatomy.type)).files)),
            facts=self._facts(model, budget),
            unknown=self._unknown(budget),
            repairs=len(asked.findings) < limits.repairs,
        )

    def _model(self, assignment: Task, transcript: str = FILE) -> Model:
        raise NotImplementedError

    def _limits(self, assignment: Task) -> Limits:
        raise NotImplementedError

    def _facts(self, model: Model, budget: Budget) -> tuple[str, ...]:
        return (model.name, *budget.facts())

    def _unknown(self, budget: Budget) -> tuple[str, ...]:
        return ()

    def _checks(self, assignment: Assignment) -> Checks:
        return EngineChecks(assignment.root, assignment.profile.op, assignment.tell)


class ClaudeAuthor(AgentAuthor):
    """Claude, over the Anthropic API."""

    name = "claude"

    def check(self, options: Mapping[str, Any], runs: Path) -> None:
        """Refuse what can't be begun.

        Raises:
            UsageError: there is no key, or a limit of dollars for a model without a known price.
        """
        if not os.environ.get(KEY):
            raise UsageError(
                f"the author claude needs an API key, and {KEY} is not set",
                f"export {KEY}=sk-... (from platform.claude.com), or take --author draft",
            )
        model = Options.model_validate(options).model
        if "dollars" in options and facts(model).price is None:
            raise UsageError(
                f"no price of {model} is known here, so dollars can't be counted",
                "limit it with --max-tokens or --max-turns",
            )

    def _model(self, assignment: Task, transcript: str = FILE) -> Model:
        from workbench.agent.anthropic_model import AnthropicModel  # the SDK takes two seconds

        options = Options.model_validate(assignment.options)
        return AnthropicModel(options.model, options.asked_effort)

    def bounds(self, tier: int, options: Mapping[str, Any]) -> Limits:
        """What one run may spend on an op of that tier; dollars only where they can be counted."""
        limits = tiers.tier(tier).limits.changed(options)
        return Budget(limits, facts(Options.model_validate(options).model).price).limits

    def _limits(self, assignment: Task) -> Limits:
        return tiers.tier(assignment.tier).limits.changed(assignment.options)

    def _unknown(self, budget: Budget) -> tuple[str, ...]:
        models = sorted(budget.unpriced)
        return tuple(f"what the author cost: no price of {model} is known" for model in models)


class ReplayAuthor(AgentAuthor):
    """A stored run's replies, played again through the same loop: nobody is asked or paid."""

    def __init__(self, run: str) -> None:
        self.name = f"{REPLAY}{run}"
        self._run = run

    def check(self, options: Mapping[str, Any], runs: Path) -> None:
        """Refuse what can't be begun.

        Raises:
            UsageError: the run has no transcript, or there is something to limit.
        """
        if options:
            raise UsageError("a replay asks no model", "leave --model, --effort and limits out")
        if not (runs / self._run / FILE).is_file():
            raise UsageError(
                f"run {self._run} has no transcript to replay",
                "runs of the author claude have one: workbench runs",
            )

    def _model(self, assignment: Task, transcript: str = FILE) -> Model:
        return ReplayModel(self._run, replies(assignment.folder.parent / self._run / transcript))

    def _limits(self, assignment: Task) -> Limits:
        return Limits(repairs=tiers.tier(assignment.tier).limits.repairs)

    def _facts(self, model: Model, budget: Budget) -> tuple[str, ...]:
        return (phrase("turns", budget.spent.turns),)
