"""`kill -9` at any moment of a run, then `resume`: the same commit, and nothing else changed."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

import pytest
from runs_fixtures import APPROVER, engine, everything, git, make_library, real_library, request

from workbench.runs import State

MOMENTS = 20
ROOT = Path(__file__).parents[1]


def whole_run(root: Path) -> None:
    """A run from its beginning to its commit."""
    runs = engine(root)
    runs.approve(runs.start(request()).id, APPROVER)


def in_child(work: Callable[[], object]) -> int:
    """Do `work` in a process group of its own; the child's process id."""
    child = os.fork()
    if child:
        os.setpgid(child, child)
        return child
    os.setpgid(0, 0)
    work()
    os._exit(0)


def counted(work: Callable[[], object], die_at: int = -1) -> int:
    """Do `work` and count its calls and returns; at number `die_at` kill it and its children."""
    events = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal events
        events += 1
        if events == die_at:
            os.kill(0, signal.SIGKILL)

    sys.setprofile(count)
    work()
    sys.setprofile(None)
    return events


def finish(root: Path) -> None:
    """What a person does after a crash: resume what there is, and approve it."""
    runs = engine(root)
    known = runs.store.all()
    assert len(known) <= 1
    run = runs.resume(known[0].id) if known else runs.start(request())
    if run.state is not State.COMMITTED:
        runs.approve(run.id, APPROVER)


def tree_of(root: Path, *, evidence: bool = True) -> list[str]:
    """The files that the only run committed; what was seen of them only if that never differs."""
    (run,) = engine(root).store.all()
    files = git(root, "ls-tree", "-r", f"workbench/{run.id}").splitlines()
    changed = git(root, "diff", "--name-only", "main", f"workbench/{run.id}").splitlines()
    assert sum(file.endswith("evidence.json") for file in changed) == 1
    return [file for file in files if evidence or not file.endswith("evidence.json")]


def assert_done(
    root: Path, tree: list[str], untouched: dict[str, str], *, evidence: bool = True
) -> None:
    """One run, one commit with exactly these files, and the user's checkout as it was."""
    (run,) = engine(root).store.all()
    assert run.state is State.COMMITTED
    assert tree_of(root, evidence=evidence) == tree
    standing = [id_ for stage in ("verify", "bench") for id_ in run.latest(stage).evidence]  # type: ignore[union-attr]
    assert run.approval is not None
    assert run.approval.evidence == standing
    assert {id_ for record in run.records for id_ in record.evidence} == {
        seen.id for seen in engine(root).store.evidence(run=run.id)
    }
    assert git(root, "rev-list", "--count", f"main..workbench/{run.id}") == "1"
    assert git(root, "branch", "--list", "workbench/*").split() == [f"workbench/{run.id}"]
    assert len(git(root, "worktree", "list").splitlines()) == 1
    assert list((root / ".workbench" / "worktrees").iterdir()) == []
    assert everything(root) == untouched
    assert ".workbench" not in git(root, "status", "--porcelain")
    assert "error" not in git(root, "fsck", "--no-dangling")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[str], int, float]:
    """The tree of a run nobody disturbs, how many calls it takes, and how many seconds."""
    root = make_library(tmp_path_factory.mktemp("reference") / "library")
    calls = counted(lambda: whole_run(root))
    tree = tree_of(root)
    again = make_library(tmp_path_factory.mktemp("timed") / "library")
    began = time.monotonic()
    whole_run(again)
    return tree, calls, time.monotonic() - began


def moments(seed: int, upto: float) -> list[float]:
    """Random moments, one in each of equal parts of the run."""
    draw = random.Random(seed)
    return [upto * (part + draw.random()) / MOMENTS for part in range(MOMENTS)]


@pytest.mark.parametrize("part", range(MOMENTS))
def test_killed_between_two_calls(
    part: int, uninterrupted: tuple[list[str], int, float], tmp_path: Path
) -> None:
    """Every part of the engine's own work dies once, the same places in every test run."""
    tree, calls, _ = uninterrupted
    root = make_library(tmp_path / "library")
    untouched = everything(root)
    die_at = int(moments(7, calls)[part])
    child = in_child(lambda: counted(lambda: whole_run(root), die_at))
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert everything(root) == untouched
    finish(root)
    assert_done(root, tree, untouched)


@pytest.mark.parametrize("part", range(MOMENTS))
def test_killed_by_the_clock(
    part: int, uninterrupted: tuple[list[str], int, float], tmp_path: Path
) -> None:
    """Git, which most of the time goes to, dies with the engine in the middle of its work."""
    tree, _, seconds = uninterrupted
    root = make_library(tmp_path / "library")
    untouched = everything(root)
    child = in_child(lambda: whole_run(root))
    time.sleep(moments(8, seconds)[part])
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert everything(root) == untouched
    finish(root)
    assert_done(root, tree, untouched)


def test_killed_again_and_again(
    uninterrupted: tuple[list[str], int, float], tmp_path: Path
) -> None:
    """A resumed run may be killed too, as often as bad luck wants."""
    tree, calls, _ = uninterrupted
    root = make_library(tmp_path / "library")
    untouched = everything(root)
    for die_at in moments(9, calls / 2):
        child = in_child(lambda at=int(die_at): counted(lambda: finish(root), at))
        os.waitpid(child, 0)
    finish(root)
    assert_done(root, tree, untouched)


def test_the_orphans_of_a_killed_engine_do_not_disturb(
    uninterrupted: tuple[list[str], int, float], tmp_path: Path
) -> None:
    """Only the engine is killed: a git it started goes on, and `resume` waits for it."""
    tree, _, seconds = uninterrupted
    for number, moment in enumerate(moments(10, seconds)[::4]):
        root = make_library(tmp_path / f"library{number}")
        untouched = everything(root)
        child = in_child(lambda root=root: whole_run(root))
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        finish(root)
        assert_done(root, tree, untouched)


def command(root: Path, *arguments: str) -> subprocess.Popen[str]:
    """The real command in the library at `root`, in a process group of its own."""
    environment = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'kernels'}"}
    return subprocess.Popen(
        [sys.executable, "-m", "workbench", *arguments],
        cwd=root,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def succeed(process: subprocess.Popen[str]) -> None:
    """Wait for the command, which must end well."""
    output, errors = process.communicate(timeout=300)
    assert process.returncode == 0, output + errors


@pytest.mark.slow
def test_a_real_run_killed_by_the_clock(tmp_path: Path) -> None:
    """Tracing, drafting, verifying and compiling for real, killed together with their processes."""
    root = real_library(tmp_path / "uninterrupted")
    began = time.monotonic()
    succeed(command(root, "new", "relu2", "--tier", "1"))
    seconds = time.monotonic() - began
    succeed(command(root, "approve", "relu2-"))
    tree = tree_of(root, evidence=False)
    for number, moment in enumerate(moments(11, seconds)[::5]):
        git(tmp_path, "clone", "--quiet", "--single-branch", "uninterrupted", f"library{number}")
        root = tmp_path / f"library{number}"
        git(root, "config", "user.name", "Ada Lovelace")
        git(root, "config", "user.email", "ada@example.org")
        untouched = everything(root)
        process = command(root, "new", "relu2", "--tier", "1")
        time.sleep(moment)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        begun = engine(root).store.all()
        succeed(command(root, "resume", "relu2-") if begun else command(root, "new", "relu2"))
        succeed(command(root, "approve", "relu2-"))
        assert_done(root, tree, untouched, evidence=False)
        shutil.rmtree(root)
