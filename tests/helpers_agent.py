"""The real command with the real author, but a judge who only looks whether a kernel says "wrong".

python helpers_agent.py new relu2
"""

from __future__ import annotations

import runs_fixtures

from workbench import cli
from workbench.agent.checks import EngineChecks
from workbench.layout import op_paths
from workbench.runs import StageResult, stages
from workbench.runs.engine import Context

SECRET = "truth 1.71583"


def verify(context: Context) -> StageResult:
    """What the judge would say, as far as a word in the kernel decides."""
    kernel = context.root / op_paths(context.run.op)[0] / "kernel.py"
    if "wrong" not in kernel.read_text():
        return runs_fixtures.verify(context)
    problem = f"backward: dx is 0.85, {SECRET}"
    found = {"problem": problem, "findings": "backward: dx is 0.85"}
    return runs_fixtures.fails(context).model_copy(update=found)


CHEAP = {"verify": verify, "bench": runs_fixtures.bench}


def passes(checks: EngineChecks) -> str:
    """What the author is told when it asks."""
    return f"passed: {checks.op}"


if __name__ == "__main__":
    stages.STAGES.update(CHEAP)
    EngineChecks.verify = passes  # type: ignore[method-assign]
    cli.main()
