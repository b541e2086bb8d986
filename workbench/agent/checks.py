"""What the engine tells an author of its files: the judge's and the compiler's words, and on a GPU
the clock's. None of it is evidence; that is made when the author has submitted.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from workbench.agent import findings


@dataclass(frozen=True)
class EngineChecks:
    """The engine's own checks of an op below a root."""

    root: Path
    op: str
    tell: Callable[[str], None]

    def verify(self) -> str:
        """The judge's findings; of a source that may not be run, no others."""
        from workbench import judge
        from workbench.jobs import lock
        from workbench.judge.verify import source

        found = source(self.root, self.op)
        if found.status == "failed":
            return findings.of_check(found)
        with lock.own_gpu(lambda step: self.tell(step.what)):
            return findings.findings(judge.verify(self.root, self.op))

    def compile(self) -> str:
        """What the compiler says of the kernels."""
        from workbench.bench import static

        return findings.of_report(static.static_report(self.root, self.op))

    @property
    def bench(self) -> Callable[[], str] | None:
        """The measurement, where there is a GPU."""
        import torch

        return self._bench if torch.cuda.is_available() else None

    def _bench(self) -> str:
        from workbench.bench import table
        from workbench.bench.measure import Plan, measure
        from workbench.jobs import lock

        with lock.own_gpu(lambda step: self.tell(step.what)):
            found = measure(self.root, self.op, Plan())
        rows = [
            ", ".join(f"{name} {value}" for name, value in row.items()) for row in table.rows(found)
        ]
        return "\n".join([" · ".join(found.summary()), *rows, *table.problems(found)])
