"""What an author may know of a verdict: which check failed, where and how, but neither the values
it was compared with, nor the sizes that were drawn so that nobody could write for them.
"""

from __future__ import annotations

import re

from workbench.bench.static import StaticReport
from workbench.judge.verdict import Check, Verdict

MOST_CHARACTERS = 20_000
# What the judge says of a value beside the candidate's own.
_TRUTH = re.compile(r", truth \S+, eager [^\s;,)]+")
_DRAWN = frozenset({"unseen shapes"})


def findings(verdict: Verdict) -> str:
    """The verdict in words for its author: a line for each check that failed."""
    if verdict.passed:
        return f"passed: {' · '.join(verdict.summary())}"
    failures = "\n".join(_finding(check) for check in verdict.failures)
    counted = f"{len(verdict.failures)} of {len(verdict.checks)} checks failed"
    return f"{counted}\n{failures}"[:MOST_CHARACTERS]


def of_check(check: Check) -> str:
    """One check, if it failed; else that it passed."""
    return _finding(check) if check.status == "failed" else f"{check.name}: passed"


def of_report(report: StaticReport) -> str:
    """What the compiler said."""
    lines = [" · ".join(report.summary()), *report.failures]
    for kernel in report.kernels:
        lines.append(
            f"{kernel.kernel} {kernel.target} {kernel.cols} columns {kernel.dtype}: "
            f"{kernel.registers} registers, {kernel.spill_bytes} bytes spilled, "
            f"{kernel.shared_bytes} bytes shared, {kernel.num_warps} warps, "
            f"occupancy {kernel.occupancy:.2f}, "
            f"{kernel.loads} loads ({kernel.wide_loads} wide), "
            f"{kernel.stores} stores ({kernel.wide_stores} wide)"
        )
    return "\n".join(lines)[:MOST_CHARACTERS]


def _finding(check: Check) -> str:
    if check.name in _DRAWN:
        return f"{check.name}: wrong at sizes that the spec does not name"
    return f"{check.name}: {_TRUTH.sub('', check.message)}"
