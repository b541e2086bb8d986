"""Running probes: each in a process of its own, as one may end it, or never end."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

import workbench
from workbench.playbook import Fact
from workbench.text import printable

TIMEOUT = 120.0
# A probe sees none of the user's keys, and compiles rather than interprets.
_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "CUDA_VISIBLE_DEVICES", "LD_LIBRARY_PATH", "CC")
Verdict = Literal["holds", "refuted", "skipped", "broken"]


class Checked(BaseModel):
    """What a probe says of its fact. One that is `broken` says nothing; `why` has the reason."""

    model_config = ConfigDict(frozen=True)

    id: str
    architecture: str
    verdict: Verdict
    figures: dict[str, int | float | str] = {}
    why: str = ""

    @property
    def passed(self) -> bool:
        """Whether nothing speaks against the fact."""
        return self.verdict in ("holds", "skipped")


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")

    holds: bool
    figures: dict[str, int | float | str]


def check(known: Iterable[Fact], architecture: str, timeout: float = TIMEOUT) -> Iterator[Checked]:
    """Run the probes of these facts for an architecture, one after the other."""
    import torch

    has_gpu = torch.cuda.is_available()
    for fact in known:
        if not fact.is_of(architecture):
            why = f"it is of {', '.join(fact.architectures)}"
            yield Checked(id=fact.id, architecture=architecture, verdict="skipped", why=why)
        elif fact.needs == "gpu" and not has_gpu:
            why = "there is no GPU"
            yield Checked(id=fact.id, architecture=architecture, verdict="skipped", why=why)
        else:
            yield _run(fact, architecture, timeout)


def _run(fact: Fact, architecture: str, timeout: float) -> Checked:
    def broken(why: str) -> Checked:
        return Checked(id=fact.id, architecture=architecture, verdict="broken", why=printable(why))

    with tempfile.TemporaryDirectory(prefix="workbench-probe-") as folder:
        command = [sys.executable, "-m", "workbench.playbook.probe", str(fact.probe), architecture]
        try:
            done = subprocess.run(
                command,
                cwd=folder,
                env=_environment(folder),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=timeout,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return broken(f"its probe took more than {timeout:g} seconds")
    last = (done.stdout.strip().splitlines() or [""])[-1]
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        return broken(f"its probe ended with {done.returncode}: {said[:300]}")
    try:
        answer = _Answer.model_validate_json(last)
    except ValidationError:
        return broken("its probe gave no answer")
    verdict: Verdict = "holds" if answer.holds else "refuted"
    return Checked(id=fact.id, architecture=architecture, verdict=verdict, figures=answer.figures)


def _environment(folder: str) -> Mapping[str, str]:
    """What a probe's process has: the workbench and the library on its path, a cache of its own."""
    import workbench_kernels

    packages = [Path(str(next(iter(m.__path__)))).parent for m in (workbench, workbench_kernels)]
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return kept | {
        "PYTHONPATH": os.pathsep.join(map(str, packages)),
        "TRITON_CACHE_DIR": str(Path(folder) / "triton"),
        "TMPDIR": folder,
    }
