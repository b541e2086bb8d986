"""The judge for tests: one examination's processes, in which many candidates are tried in turn."""

from __future__ import annotations

import itertools
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch

import workbench_kernels
from workbench.judge import sandbox
from workbench.judge.checks import Behaviour
from workbench.judge.examination import Examination, choose_device
from workbench.judge.stage import CANDIDATE, Stage, prepare
from workbench.judge.verdict import Check
from workbench.layout import LIBRARY, op_paths


class Court:
    """Tries variants of the kernel and wrapper of one op; its spec and processes stay the same."""

    def __init__(self, stage: Stage, examination: Examination) -> None:
        self._stage, self._examination = stage, examination
        self._numbers = itertools.count()

    def sources(self) -> dict[str, str]:
        """The op's own kernel and wrapper, as text."""
        folder = self._stage.op / self._stage.name
        return {name: (folder / name).read_text() for name in CANDIDATE}

    def checks(
        self, sources: Mapping[str, str] | None = None, only: Collection[str] | None = None
    ) -> list[Check]:
        """What the checks of a candidate (all, or those named) say of other sources."""
        folder = self._stage.add_variant(f"court{next(self._numbers)}", sources or {})
        return list(self._examination.of_candidate(folder, only))

    def repeated(self, sources: Mapping[str, str] | None = None) -> list[str]:
        """What is wrong with the last rows of a call on copies of a few."""
        folder = self._stage.add_variant(f"court{next(self._numbers)}", sources or {})
        with self._examination.opened(folder) as op:
            op.load()
            found = Behaviour(op, 3).repeated(64, 40, torch.float32)
        return [comparison.message for comparison in found]


def write_library(root: Path) -> Path:
    """A repository with the library's own files and no op."""
    package = root / LIBRARY
    package.mkdir(parents=True, exist_ok=True)
    for path in Path(str(workbench_kernels.__file__)).parent.glob("*.py"):
        shutil.copy(path, package)
    return root


def write_fixture(root: Path, op: str) -> Path:
    """A repository with the library's own files and one op of tests/fixtures."""
    write_library(root)
    folder, test = (root / path for path in op_paths(op))
    folder.mkdir()
    test.parent.mkdir(parents=True)
    for path in (Path(__file__).parent / "fixtures" / op).glob("*.py"):
        shutil.copy(path, test if path.stem.startswith("tests_of") else folder / path.name)
    return root


@contextmanager
def court(root: Path, op: str, seed: int = 3, timeout: float = 600.0) -> Iterator[Court]:
    """A court for the op in the repository `root`."""
    with tempfile.TemporaryDirectory() as folder:
        stage = prepare(root, op, Path(folder))
        device, _ = choose_device()
        deadline = time.monotonic() + timeout
        with Examination(stage, sandbox.find(), device, seed, deadline) as examination:
            yield Court(stage, examination)
