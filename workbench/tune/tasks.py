"""What is judged of an op while it is tuned, as functions of a job: see `workbench.bench.tasks` for
what is timed.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from workbench.bench.progress import Progress
from workbench.judge.variants import Examined, Sources
from workbench.judge.verdict import Verdict


def judged(root: Path, op: str, progress: Progress) -> Verdict:
    """The verdict on the op below `root`."""
    from workbench import judge

    return judge.verify(root, op)


def examined(
    root: Path, op: str, variants: Mapping[str, Sources], progress: Progress
) -> dict[str, Examined]:
    """What is found of variants of the op below `root`, by their names."""
    from workbench.judge.variants import examine

    return examine(root, op, variants)
