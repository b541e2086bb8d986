"""On a GPU: a badly configured op becomes as fast as the best known one, and a fake never wins."""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from court import write_fixture, write_library
from runs_fixtures import git

from workbench.authors import Assignment, get
from workbench.bench.entrant import Rival
from workbench.bench.measure import Plan, measure
from workbench.bench.measurement import OURS
from workbench.layout import op_paths
from workbench.profile import analyze
from workbench.reference import find
from workbench.repository import Repository
from workbench.runs import State
from workbench.runs.engine import Engine
from workbench.runs.stages import STAGES
from workbench.tune import stages
from workbench.tune.rewrites import Findings, Rewrite
from workbench.tune.sweep import KERNEL
from workbench.tune.tables import EVERY, rewritten, tables
from workbench.tune.wave import times
from workbench_kernels.tuning import CHOICES

pytestmark = pytest.mark.gpu

ROOT = Path(__file__).resolve().parents[1]
OP = "rms_norm"
BAD = {
    "FORWARD": {"elements": 32768, "per_thread": 4},
    "BACKWARD": {"elements": 256, "per_thread": 64, "stages": 1, "resident": 4},
}
SECONDS = 300.0
# Where kernels take longer than their launches.
SIZES = ((65536, 1024), (16384, 4096), (8192, 16384))
SIDE_BY_SIDE, RANDOM = 10, 24


def committed(root: Path) -> Path:
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "add", "--all")
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.org")
    git(root, *who, "commit", "--quiet", "-m", "The library")
    return root


def configured(kernel: str, configs: dict[str, dict[str, int]]) -> str:
    """The kernel with these at every width."""
    changed = []
    for name, table in tables(kernel).items():
        same = {width: configs[name] for width in table.configs}
        changed.append(table.having({EVERY: configs[name], **same}))
    return rewritten(kernel, changed)


@pytest.fixture(scope="module")
def drafted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A library with a badly configured rms_norm, and the kernel as it was drafted."""
    root = write_library(tmp_path_factory.mktemp("library"))
    (root / "tests/kernels").mkdir(parents=True)
    reference = find(OP)
    profile = analyze(reference, OP)
    get("draft").write(Assignment(profile=profile, reference=reference, root=root, folder=root))
    path = root / op_paths(OP)[0] / KERNEL
    good = path.read_text()
    path.write_text(configured(good, BAD))
    return committed(root), good


def command(root: Path, *arguments: str) -> str:
    """What it prints, passed on line by line: it takes minutes."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "kernels")])}
    lines, began = list[str](), time.monotonic()
    with subprocess.Popen(
        [sys.executable, "-m", "workbench", *arguments],
        cwd=root,
        env=environment | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(f"{time.monotonic() - began:5.0f} s  {line}", end="", flush=True)
            lines.append(line)
    assert not process.returncode, lines
    return "".join(lines)


def known(good: str) -> Iterator[str]:
    """What is known to be good or may be: shapes of the forward, and of all the backward's, drawn;
    each kernel has one of both.
    """
    chance = random.Random(1)
    every = [*itertools.product(CHOICES["elements"], CHOICES["per_thread"])]
    shapes = chance.sample(every, RANDOM)
    names = ("elements", "per_thread", "stages", "resident")
    every = [*itertools.product(*(CHOICES[name] for name in names))]
    backward = chance.sample(every, RANDOM)
    for shape, other in itertools.zip_longest(shapes, backward, fillvalue=None):
        configs = {
            "FORWARD": dict(zip(names, shape or shapes[0], strict=False)),
            "BACKWARD": dict(zip(names, other or every[0], strict=True)),
        }
        yield configured(good, configs)


def test_a_bad_configuration_becomes_as_good_as_the_best_known(drafted: tuple[Path, str]) -> None:
    root, good = drafted
    began = time.monotonic()
    command(root, "tune", OP, "--minutes", "2")
    spent = time.monotonic() - began
    (run,) = json.loads(command(root, "runs", "--json"))["runs"]
    print((root / ".workbench/runs" / run["id"] / "notebook.md").read_text())
    command(root, "show", run["id"])
    command(root, "approve", run["id"], "--as", "Ada <ada@example.org>")
    git(root, "merge", "--quiet", f"workbench/{run['id']}")
    print(f"{spent:.0f} s")

    best = dict[tuple[int, int, str], float]()
    shares = dict[tuple[int, int, str], float]()
    every = [good, *known(good)]
    for first in range(0, len(every), SIDE_BY_SIDE):
        batch = every[first : first + SIDE_BY_SIDE]
        rivals = [Rival(f"known {n}", "op", sources={KERNEL: text}) for n, text in enumerate(batch)]
        found = measure(root, OP, Plan(SIZES, rivals=[Rival(OURS, "op"), *rivals], race=True))
        ours = times(found)
        for rival in rivals:
            for key, seconds in times(found, rival.name).items():
                best[key] = max(best.get(key, 0.0), ours[key] / seconds)
    for key, ratio in best.items():
        shares[key] = 1 / ratio
        print(key, f"{shares[key]:.3f} of the best known configuration's speed")
    assert min(shares.values()) >= 0.95
    assert spent <= SECONDS


class Script:
    """An author that proposes a fake, and then what is honestly better."""

    name = "script"

    def __init__(self) -> None:
        self.ideas = [
            (
                "the second half is left out",
                "tl.store(Y + offsets, ",
                "tl.store(Y + offsets // 2, ",
            ),
            ("more elements for each program", "BLOCK = 64\n", "BLOCK = 2048\n"),
        ]

    def improve(self, found: Findings) -> Rewrite | None:
        if not self.ideas:
            return None
        hypothesis, old, new = self.ideas.pop(0)
        kernel = found.sources[KERNEL]
        assert old in kernel
        return Rewrite(hypothesis, 0.5, {KERNEL: kernel.replace(old, new)})


def test_a_fake_never_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_fixture(tmp_path, "relu2")
    path = root / op_paths("relu2")[0] / KERNEL
    text = path.read_text()
    assert "BLOCK = 2048\n" in text
    path.write_text(text.replace("BLOCK = 2048\n", "BLOCK = 64\n"))
    committed(root)
    monkeypatch.setattr(stages, "improver", lambda name: Script())

    class Quiet:
        def started(self, stage: str) -> None: ...
        def doing(self, what: str) -> None: ...
        def finished(self, stage: str, result: object) -> None:
            print(stage, result)

    engine = Engine(Repository.discover(root), STAGES, Quiet())
    sizes = [(8192, 4096)]
    asked = stages.request(
        engine.repository, "relu2", (), 5.0, sizes, None, "script", "local", None
    )
    run = engine.start(asked)
    assert run.state is State.REVIEW, run.reason
    page = (engine.store.folder_of(run.id) / "notebook.md").read_text()
    print(page)
    assert "script 1: not timed: " in page and "script 2: saves " in page
    winner = (engine.repository.worktree(run.id) / op_paths("relu2")[0] / KERNEL).read_text()
    assert "BLOCK = 2048\n" in winner and "offsets // 2" not in winner
