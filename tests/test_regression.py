"""What has become slower since its evidence was committed, and two revisions beside each other."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
import torch
from court import write_fixture
from measured import record
from runs_fixtures import git, without_gpu

from workbench.bench import bench, regression, tasks
from workbench.bench.compare import revisions
from workbench.bench.contest import Direction
from workbench.bench.measure import Plan
from workbench.bench.measurement import OURS, Measurement, Point, Result
from workbench.errors import EvidenceError, UsageError
from workbench.evidence.document import Document
from workbench.jobs.gpus import Gpu
from workbench.jobs.local import Local
from workbench.layout import evidence_path
from workbench.repository import Repository, content
from workbench.runs.store import Store

DEVICE = "GPU A"
WAYS: tuple[Direction, ...] = ("forward", "both")


def point(seconds: dict[str, float], floor: float = 1e-4, rows: int = 1024) -> Point:
    """Everyone takes so long in every round, within half a percent."""
    around = [[0.995], [1.0], [1.005]] * 4
    results = [
        Result(
            contender=name, rounds={w: [[time * t for t in one] for one in around] for w in WAYS}
        )
        for name, time in seconds.items()
    ]
    floors = dict.fromkeys(WAYS, floor)
    return Point(
        rows=rows, cols=64, dtype="bfloat16", bytes=floors, floors=floors, results=tuple(results)
    )


def measurement(*points: Point, device: str = DEVICE) -> Measurement:
    return Measurement(op="relu2", device=device, seed=1, ceilings={}, points=points)


def again(slower: float, floor: float = 1e-4, itself: float = 1.0) -> list[str]:
    """What is told of an op that takes so many times as long, where the floor is another now."""
    gpu = floor / 1e-4
    before = measurement(point({OURS: 2e-4}), point({OURS: 4e-4}, rows=2048))
    now = measurement(
        point({OURS: 2e-4 * slower, regression.ITSELF: 2e-4 * slower * itself}, floor),
        point({OURS: 4e-4 * gpu, regression.ITSELF: 4e-4 * gpu}, floor, rows=2048),
    )
    return regression.regressions(before, now)


def test_a_slower_kernel_is_told_with_its_size() -> None:
    found = again(1.1)
    assert sorted(text.partition(":")[0] for text in found) == [
        "(1024, 64) both",
        "(1024, 64) forward",
    ]
    assert again(1.0) == again(0.8) == again(1.01) == []


def test_a_slower_gpu_is_no_regression() -> None:
    assert again(1.3, floor=1.3e-4) == []


def test_what_an_op_differs_from_itself_by_is_noise() -> None:
    assert again(1.06)
    assert again(1.06, itself=1.08) == []


def test_a_size_that_fails_now_is_told() -> None:
    before = measurement(point({OURS: 1e-5}))
    assert "has no time any more" in regression.regressions(before, measurement(point({})))[0]


def test_the_newest_record_of_this_model_of_gpu_counts() -> None:
    old, new = (measurement(point({OURS: seconds})) for seconds in (1e-5, 2e-4))
    elsewhere = measurement(point({OURS: 3e-5}), device="GPU B")
    records = [
        record(found, created=datetime(2026, 1, day, tzinfo=UTC))
        for day, found in ((2, new), (1, old), (3, elsewhere))
    ]
    assert regression.recorded(records, "relu2", DEVICE) == new
    with pytest.raises(EvidenceError, match="measured on GPU A, GPU B only"):
        regression.recorded(records, "relu2", "GPU C")
    with pytest.raises(EvidenceError, match="not measured"):
        regression.recorded([], "relu2", DEVICE)


def test_the_same_sizes_are_measured_again() -> None:
    asked = regression.plan(measurement(point({OURS: 1e-5})), Plan(rounds=3))
    assert (asked.sizes, asked.dtype, asked.rounds) == ([(1024, 64)], torch.bfloat16, 3)
    assert [rival.name for rival in asked.rivals or ()] == [OURS, regression.ITSELF]


def test_the_gpu_a_job_lands_on_decides_which_record_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Committed evidence travels with the job; where none is of that model, it says so."""
    root = write_fixture(tmp_path, "relu2")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "The library")
    files = content(root, "relu2").digests
    devices = {name: measurement(point({OURS: 2e-4}), device=name) for name in ("GPU A", "GPU B")}
    committed = [record(found, op="relu2", files=files) for found in devices.values()]
    (root / evidence_path("relu2")).write_text(Document("relu2", files, committed).dump())

    slower = point({OURS: 3e-4, regression.ITSELF: 3e-4})
    repository = Repository.discover(root)
    watch = bench.Watch(repository, Store(repository.state), Plan())
    models = Local([Gpu(f"GPU-{name}", f"GPU-{name}", name) for name in "ABC"])
    jobs, here = watch.jobs(watch.ops([]), models), Local([])
    assert [job.label for job in jobs] == ["relu2 on A", "relu2 on B", "relu2 on C"]
    kept = []
    for job, device in zip(jobs, ("GPU A", "GPU B", "GPU C"), strict=True):
        found = measurement(slower, device=device)
        monkeypatch.setattr(tasks, "_device", lambda found=found: found.device)
        monkeypatch.setattr(tasks, "measure", lambda *_, found=found: found)
        (done,) = here.run([job], lambda job, step: None)
        if done.problem is None:
            kept.append(watch.kept(done))
    assert isinstance(done.problem, EvidenceError)
    assert "measured on GPU A, GPU B only" in str(done.problem)
    assert [one.evidence.data["device"] for one in kept] == ["GPU A", "GPU B"]
    assert all("of the floor at best" in one.found.failures[0] for one in kept)


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    """The kernel's text is "1" in the first commit, "2" in the second."""
    folder = tmp_path / "kernels" / "workbench_kernels" / "relu2"
    folder.mkdir(parents=True)
    git(tmp_path, "init", "--quiet")
    for version in ("1", "2"):
        (folder / "kernel.py").write_text(version)
        (folder / "spec.py").write_text("")
        git(tmp_path, "add", "--all")
        git(tmp_path, "commit", "--quiet", "-m", version)
    return Repository.discover(tmp_path)


def test_revisions_are_read_out_of_git(repository: Repository) -> None:
    kernel = "kernels/workbench_kernels/relu2/kernel.py"
    (repository.root / kernel).write_text("3")
    with revisions(repository, "HEAD~1..") as found:
        ours, theirs = found.rivals("relu2")
        assert (ours.name, ours.root) == (OURS, None)
        assert (theirs.name, theirs.root) == (f"at {found.old[:10]}", found.old_root)
        assert (found.old_root / kernel).read_text() == "1"
        assert (found.new_root / kernel).read_text() == "2"
        with pytest.raises(UsageError, match="has no op 'gone'"):
            found.rivals("gone")


@pytest.mark.parametrize("text", ["HEAD", "HEAD...HEAD~1", "nothing..HEAD"])
def test_what_is_no_pair_of_revisions(text: str, repository: Repository) -> None:
    with pytest.raises(UsageError), revisions(repository, text):
        pass


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--compare", "HEAD~1..HEAD"], "--compare needs a GPU"),
        (["--check"], "--check needs a GPU"),
        (["--check", "--compare", "a..b"], "are two things"),
    ],
)
def test_without_a_gpu_nothing_is_compared(
    options: list[str], said: str, repository: Repository
) -> None:
    command = [sys.executable, "-m", "workbench", "bench", "relu2", *options]
    done = subprocess.run(
        command, cwd=repository.root, env=without_gpu(), capture_output=True, text=True, check=False
    )
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
