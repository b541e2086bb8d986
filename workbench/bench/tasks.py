"""What `workbench bench` does of an op, as functions of a job: each works on a copy of the files,
on whatever machine it is, and gives the record of what it found.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from workbench.bench import regression
from workbench.bench.compare import Revisions
from workbench.bench.entrant import Rival
from workbench.bench.measure import EAGER, Plan, measure
from workbench.bench.measurement import Measurement
from workbench.bench.progress import Progress, Step
from workbench.bench.static import static_report
from workbench.errors import WorkbenchError
from workbench.evidence import Evidence
from workbench.evidence.document import Document
from workbench.evidence.make import of_measurement, of_report
from workbench.judge import sandbox
from workbench.repository import content

# A record's text and its id, which whoever asked for it holds the text against.
Record = tuple[str, str]
# Where the two revisions of a comparison lie.
OLD, NEW = "old", "new"


def compiled(root: Path, op: str, progress: Progress) -> Record:
    """Compile the op, for named targets.

    Raises:
        WorkbenchError: the compiler's process ended where it should not.
    """
    progress(Step("compiling"))
    report = static_report(root, op)
    return _record(of_report(report, root, content(root, op).digests, report.summary()))


def measured(root: Path, op: str, plan: Plan, progress: Progress) -> Record:
    """Measure the op on the GPU.

    Raises:
        WorkbenchError: it can't be, or a process ended where it should not.
    """
    return _of(_measure(root, op, plan, progress), root)


def compared(root: Path, op: str, plan: Plan, old: str, new: str, progress: Progress) -> Record:
    """Measure the op at two commits in turn, beside eager; the record is of the new one.

    Raises:
        WorkbenchError: as `measured`.
    """
    revisions = Revisions(old, new, root / OLD, root / NEW)
    rivals = [*revisions.rivals(op), Rival(EAGER, "reference")]
    found = _measure(revisions.new_root, op, replace(plan, rivals=rivals), progress)
    return _of(found, revisions.new_root, new)


def watched(root: Path, op: str, plan: Plan, progress: Progress) -> Record:
    """Measure the op again; what is slower than its committed evidence says, of a GPU of this
    model, is a failure.

    Raises:
        EvidenceError: nothing says how fast it was on one.
        WorkbenchError: as `measured`.
    """
    committed = Document.load(root, op).evidence
    before = regression.recorded(committed, op, _device())
    now = _measure(root, op, regression.plan(before, plan), progress)
    worse = (*now.failures, *regression.regressions(before, now))
    return _of(now.model_copy(update={"failures": worse}), root)


def _measure(root: Path, op: str, plan: Plan, progress: Progress) -> Measurement:
    _device()
    return measure(root, op, plan, progress)


def _device() -> str:
    if not torch.cuda.is_available():  # a cluster may say that a node has a GPU, and be wrong
        raise WorkbenchError(
            f"PyTorch {torch.__version__} sees no GPU where one was promised",
            "python -c 'import torch; torch.cuda.init()' there says why",
        )
    return torch.cuda.get_device_name()


def _of(found: Measurement, root: Path, commit: str = "") -> Record:
    files = content(root, found.op).digests
    return _record(of_measurement(found, root, files, str(sandbox.find()), commit))


def _record(evidence: Evidence) -> Record:
    return evidence.text, evidence.id
