"""The real command with the real author and a judge who reads what a kernel says of itself.

python helpers_attempts.py new relu2 --attempts 3. A process that drives one of the runs imports
this file too, and finds the same judge.
"""

from __future__ import annotations

import os
import re

import helpers_agent
import runs_fixtures
from measured import static_report

from workbench import cli
from workbench.agent.checks import EngineChecks
from workbench.jobs import lock
from workbench.layout import op_paths
from workbench.runs import StageResult, stages
from workbench.runs.engine import Context


def bench(context: Context) -> StageResult:
    """What a compiler would say whose registers are a comment in the kernel."""
    assert lock.TURNS in os.environ, "it is driven beside others"
    kernel = (context.root / op_paths(context.run.op)[0] / "kernel.py").read_text()
    said = re.search(r"# (\d+) registers", kernel)
    registers = int(said[1]) if said is not None else 64
    report = static_report()
    kernels = tuple(k.model_copy(update={"registers": registers}) for k in report.kernels)
    data = report.model_copy(update={"op": context.run.op, "kernels": kernels, "failures": ()})
    summary = ["no GPU", f"{registers} registers"]
    evidence = [runs_fixtures.seen(context, "compilation", summary, data.model_dump())]
    return StageResult(summary=summary, evidence=evidence)


if __name__ in ("__main__", "__mp_main__"):
    stages.STAGES.update(verify=helpers_agent.verify, bench=bench)
    EngineChecks.verify = helpers_agent.passes  # type: ignore[method-assign]
if __name__ == "__main__":
    cli.main()
