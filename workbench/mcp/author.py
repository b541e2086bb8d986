"""The author that is somebody else's agent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from workbench import tiers
from workbench.agent.author import AgentAuthor, Task
from workbench.agent.budget import Budget
from workbench.agent.model import Model, Reply, Request
from workbench.agent.prices import Usage
from workbench.agent.transcript import FILE
from workbench.authors import MCP
from workbench.errors import AgentAway, UsageError
from workbench.limits import Limits


class McpAuthor(AgentAuthor):
    """Somebody else's agent, at its seat in `workbench mcp`. Without one, what it called before is
    done again, and that is all.
    """

    name = MCP
    # It writes ops. What an op is, what to change of one, and recipes, are asked of a model.
    define = None  # type: ignore[assignment]
    revise = None  # type: ignore[assignment]
    patch = None  # type: ignore[assignment]

    def __init__(self, seat: Model | None = None) -> None:
        self._seat = seat

    def check(self, options: Mapping[str, Any], runs: Path) -> None:
        """Refuse what is not for the engine to choose or count.

        Raises:
            UsageError: a model, an effort, or a limit of tokens or dollars.
        """
        if not options.keys() <= {"turns", "minutes", "repairs"}:
            raise UsageError(
                "what somebody else's agent asks, and what that costs, is not known here",
                "limit it with --max-turns (its calls) or --max-minutes",
            )

    def _model(self, assignment: Task, transcript: str = FILE) -> Model:
        return self._seat or _Away(assignment.run)

    def _limits(self, assignment: Task) -> Limits:
        repairs = tiers.tier(assignment.tier).limits.repairs
        return Limits(repairs=repairs).changed(assignment.options)

    def _facts(self, model: Model, budget: Budget) -> tuple[str, ...]:
        return (f"{budget.spent.turns} calls",)

    def _unknown(self, budget: Budget) -> tuple[str, ...]:
        return ("what the author cost: it is somebody else's agent",)


class _Away:
    """The model where nobody is."""

    name = MCP

    def __init__(self, run: str) -> None:
        self._run = run

    def reply(self, request: Request, begun: Callable[[Usage], None]) -> Reply:
        """Nothing.

        Raises:
            AgentAway: always.
        """
        raise AgentAway(
            f"run {self._run} waits for its agent",
            f"connect it to workbench mcp; it calls open with the run {self._run}",
        )
