"""`python -m workbench.judge ROOT OP --seed N --output FILE`: judge an op in this process.

`verify` starts it. The file appears complete, after the last check, or not at all.
"""

from __future__ import annotations

import argparse
import platform
import time
from importlib.metadata import version
from pathlib import Path

import torch

import workbench_kernels
from workbench.judge.behaviour import Behaviour
from workbench.judge.candidate import Candidate, load
from workbench.judge.interface import Interface
from workbench.judge.process import choose_device, die_with_parent
from workbench.judge.trial import Trial, Wrong, conduct
from workbench.judge.values import Values
from workbench.judge.verdict import Check, Verdict
from workbench_kernels.bound import Comparison

_SHORT = {torch.float32: "fp32", torch.bfloat16: "bf16", torch.float16: "fp16"}


def main() -> None:
    """Parse the command, judge, write the verdict."""
    parser = argparse.ArgumentParser(prog="python -m workbench.judge", description=__doc__)
    parser.add_argument("root", type=Path, help="repository or worktree with the kernel library")
    parser.add_argument("op", help="name of the op")
    parser.add_argument("--seed", type=int, default=0, help="fixes every value that is drawn")
    parser.add_argument("--output", type=Path, required=True, help="the verdict's file, JSON")
    arguments = parser.parse_args()
    die_with_parent()
    found = Path(str(workbench_kernels.__file__))
    if not found.is_relative_to(arguments.root.resolve()):
        parser.error(f"workbench_kernels is {found}; put {arguments.root}/kernels on PYTHONPATH")
    verdict = judge(arguments.op, arguments.seed, arguments.output.with_suffix(".progress"))
    draft = arguments.output.with_suffix(".part")
    draft.write_text(verdict.model_dump_json())
    draft.replace(arguments.output)


def judge(op: str, seed: int, progress: Path) -> Verdict:
    """Every check of the op in the library on the path.

    `progress` holds the name of the check under way, for whoever finds this process gone.
    """
    started = time.perf_counter()
    device, interpreted = choose_device()
    progress.write_text("imports")
    candidate, imports = _load(op)
    checks = [imports, *(_every_check(candidate, seed, progress) if candidate else [])]
    return Verdict(
        op=op,
        seed=seed,
        device=device,
        interpreted=interpreted,
        versions={"python": platform.python_version()}
        | {package: version(package) for package in ("torch", "triton")},
        dtypes=tuple(_SHORT[dtype] for dtype in candidate.spec.dtypes) if candidate else (),
        checks=tuple(checks),
        seconds=round(time.perf_counter() - started, 3),
    )


def _load(op: str) -> tuple[Candidate | None, Check]:
    loaded: list[Candidate] = []

    def attempt() -> list[Comparison]:
        candidate = load(op)
        if candidate.spec.name != op:
            raise Wrong(f"the spec names {candidate.spec.name}, the folder {op}")
        loaded.append(candidate)
        return []

    check = conduct("imports", lambda: [Trial(op, attempt)])
    return (loaded[0] if loaded else None), check


def _every_check(candidate: Candidate, seed: int, progress: Path) -> list[Check]:
    groups = (Values(candidate, seed), Behaviour(candidate, seed), Interface(candidate, seed))
    checks = []
    for name, trials in (item for group in groups for item in group.checks().items()):
        progress.write_text(name)
        checks.append(conduct(name, trials))
    return checks


if __name__ == "__main__":
    main()
