"""The real command over stages that cost nothing: `python helpers_runs.py new relu2`.

In the environment, `SLOW` is how many seconds every stage takes, so that a test can stop in one,
and `STAGES` puts others of runs_fixtures in place, as in `verify=fails`.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import runs_fixtures

from workbench import cli
from workbench.runs import Request, StageResult, stages
from workbench.runs.engine import Context, StageFunction


def slowed(stage: StageFunction) -> StageFunction:
    """The stage with half of its pause before it works and half after."""
    pause = float(os.environ.get("SLOW", "0")) / 2

    def run(context: Context) -> StageResult:
        time.sleep(pause)
        result = stage(context)
        time.sleep(pause)
        return result

    return run


def cheap_request(
    op: str,
    target: str | None,
    tier: int | None,
    force: bool,
    author: str,
    options: Mapping[str, Any],
) -> Request:
    """A request without looking the reference up, for which torch would be imported."""
    return runs_fixtures.request(op, author)


if __name__ == "__main__":
    chosen = dict(pair.split("=") for pair in os.environ.get("STAGES", "").split())
    others = {name: getattr(runs_fixtures, other) for name, other in chosen.items()}
    stages.STAGES.update({n: slowed(s) for n, s in (runs_fixtures.CHEAP | others).items()})
    stages.request = cheap_request
    cli.main()
