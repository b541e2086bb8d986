"""Jobs on this machine: locks, several processes, those that die. No GPU is touched."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import jobs_fixtures as fixtures
import pytest
import torch
from court import write_fixture
from jobs_fixtures import FILES, done, job
from runs_fixtures import git

from workbench import judge, locks
from workbench.bench.progress import Step
from workbench.console import Terminal
from workbench.errors import StorageError, UsageError
from workbench.jobs import Done, executor, gpus, lock
from workbench.jobs.gpus import Gpu
from workbench.jobs.job import Seldom
from workbench.jobs.local import Local
from workbench.jobs.snapshot import snapshot
from workbench.judge.verdict import Verdict
from workbench.repository import content
from workbench.verification import targets
from workbench.verification import verify as verifying

TWO = [Gpu("GPU-0", "GPU-0", "A"), Gpu("GPU-1", "GPU-1", "B")]
HERE = Path(__file__).parents[1]
PATH = os.pathsep.join(map(str, (HERE, HERE / "kernels", HERE / "tests")))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Not the machine's: a test waits for nobody's GPU."""
    folder = tmp_path / "locks"
    folder.mkdir()
    monkeypatch.setattr(locks, "FOLDER", folder)
    return folder


@pytest.fixture
def holder(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds GPU-0."""
    program = (
        "import sys; from pathlib import Path; from workbench import locks\n"
        "locks.FOLDER = Path(sys.argv[1])\n"
        "with locks.hold('GPU-0', print): print('has it', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, folder],
        env=os.environ | {"PYTHONPATH": PATH},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "has it\n"
        yield process
        process.kill()


def test_a_gpu_has_one_process_at_a_time(holder: subprocess.Popen[str]) -> None:
    said = list[str]()

    def tell(what: str) -> None:
        said.append(what)
        holder.kill()  # its lock goes with it

    assert locks.is_free("GPU-1") and not locks.is_free("GPU-0")
    with locks.hold("GPU-0", tell):
        assert not locks.is_free("GPU-0")
    assert locks.is_free("GPU-0")
    assert said[0] == f"waiting for GPU-0, which process {holder.pid} has"


def test_a_lock_is_anyones_and_no_link(folder: Path) -> None:
    mask = os.umask(0o077)
    try:
        assert locks.is_free("GPU-0")
    finally:
        os.umask(mask)
    assert (folder / "workbench-GPU-0.lock").stat().st_mode & 0o777 == 0o666
    (folder / "victim").write_text("mine")
    (folder / "workbench-GPU-1.lock").symlink_to(folder / "victim")
    with pytest.raises(StorageError):
        locks.is_free("GPU-1")
    assert (folder / "victim").read_text() == "mine"


def test_nobody_is_timed_while_an_op_is_judged(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The judge keeps a GPU as busy as a measurement does."""
    held = list[bool]()

    def verify(root: Path, op: str, **_: object) -> Verdict:
        held.append(not locks.is_free("GPU-0"))
        return Verdict(op=op, seed=1)

    monkeypatch.setattr(lock, "gpus", lambda: TWO)
    monkeypatch.setattr(judge, "verify", verify)
    root = write_fixture(tmp_path / "root", "relu2")
    with targets.resolve(str(root), None) as found:
        verifying.verify(found, Terminal(as_json=True))
    assert held == [True]
    assert locks.is_free("GPU-0")


def test_a_lock_on_a_file_that_is_gone_is_none(folder: Path) -> None:
    path = folder / "workbench-GPU-0.lock"
    with locks.hold("GPU-0", print):
        path.unlink()
        with locks.hold("GPU-0", print):  # one who comes later makes a new file
            path.rename(folder / "elsewhere")
            path.symlink_to("nowhere")
    path.unlink()
    assert locks.is_free("GPU-0")


def test_gpus_are_named_by_what_no_order_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = (
        "GPU 0: NVIDIA A100-SXM4-40GB (UUID: GPU-aa00)\n"
        "  MIG 3g.20gb     Device  0: (UUID: MIG-00a1)\n"
        "  MIG 3g.20gb     Device  1: (UUID: MIG-00a2)\n"
        "GPU 1: NVIDIA H100 80GB HBM3 (UUID: GPU-bb00)\n"
    )
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    there = [("NVIDIA H100 80GB HBM3", "bb00"), ("NVIDIA A100-SXM4-40GB MIG 3g.20gb", "00a2")]
    monkeypatch.setattr(gpus, "output", lambda *command: listed)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(there))
    monkeypatch.setattr(
        torch.cuda,
        "get_device_properties",
        lambda index: SimpleNamespace(name=there[index][0], uuid=there[index][1]),
    )
    assert gpus.gpus() == [
        Gpu("GPU-bb00", "GPU-bb00", "NVIDIA H100 80GB HBM3"),
        Gpu("MIG-00a2", "GPU-aa00", "NVIDIA A100-SXM4-40GB MIG 3g.20gb"),
    ]
    monkeypatch.setattr(gpus, "output", lambda *command: "")  # no nvidia-smi
    assert [gpu.whole for gpu in gpus.gpus()] == ["GPU-bb00", "MIG-00a2"]
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert gpus.gpus() == []


def test_who_is_shown_no_gpu_does_not_wait_for_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    monkeypatch.setitem(sys.modules, "torch", None)
    assert gpus.gpus() == []


def test_in_this_process_one_after_the_other() -> None:
    found, told = done(Local([]), job("a", fixtures.refuses), job("b", fixtures.looks))
    assert [one.job.label for one in found] == ["a", "b"]
    assert (str(found[0].problem), found[0].problem.hint) == ("it is refused", "ask for another")  # type: ignore[union-attr]
    assert {path: found[1].result[path].encode() for path in FILES} == FILES
    assert told == ["b: looking"]
    with pytest.raises(ZeroDivisionError):
        done(Local([]), job("a", fixtures.is_buggy))


def test_a_process_for_each_gpu(tmp_path: Path) -> None:
    """In the order they are done; one that is killed is tried again; models go where they are."""
    looked, told, found = tmp_path / "looked", list[str](), list[Done]()
    jobs = [
        job("slow", fixtures.waits, str(looked), model="A"),
        job("dies", fixtures.dies, str(tmp_path / "marker"), 1, model="B"),
        job("refuses", fixtures.refuses, model="B"),
        job("looks", fixtures.looks, model="B"),
    ]
    for one in Local(TWO).run(jobs, lambda job, step: told.append(f"{job.label}: {step.what}")):
        found.append(one)
        if one.job.label == "looks":
            looked.touch()
    assert [one.job.label for one in found] == ["dies", "refuses", "looks", "slow"]
    dies, refuses, looks, slow = found
    assert (dies.result, dies.problem, slow.result) == (2, None, True)
    assert isinstance(refuses.problem, UsageError) and refuses.problem.hint == "ask for another"
    assert looks.result == {path: data.decode() for path, data in FILES.items()} | {"gpu": "GPU-1"}
    (again,) = [what for what in told if what.startswith("dies")]
    assert again.startswith("dies: again: its process")
    assert again.endswith("on GPU-1 was ended by SIGKILL")


def test_one_that_always_dies_fails(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    (found,), told = done(Local(TWO), job("dies", fixtures.dies, str(marker), 9, model="B"))
    assert marker.read_text() == "xxx" and len(told) == 2
    assert str(found.problem).startswith("dies: its process")
    assert str(found.problem).endswith("on GPU-1 was ended by SIGKILL, as 2 before it did")
    with pytest.raises(RuntimeError, match="bug: ZeroDivisionError: division by zero"):
        done(Local(TWO), job("bug", fixtures.is_buggy))


def test_a_gpu_that_another_command_has_is_left_alone(holder: subprocess.Popen[str]) -> None:
    found, _ = done(Local(TWO), job("a", fixtures.looks), job("b", fixtures.looks))
    assert [one.result["gpu"] for one in found] == ["GPU-1", "GPU-1"]


def test_interrupted_nothing_is_left(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    program = (
        "from jobs_fixtures import done, hangs, job; from workbench.jobs.local import Local\n"
        "from workbench.jobs.gpus import Gpu; from workbench import locks\n"
        f"from pathlib import Path; locks.FOLDER = Path({str(tmp_path)!r})\n"
        f"done(Local([Gpu('0', '0', ''), Gpu('1', '1', '')]), job('a', hangs, {str(marker)!r}))"
    )
    environment = os.environ | {"PYTHONPATH": PATH, "TMPDIR": str(tmp_path)}
    code, gone = fixtures.interrupted(program, marker, environment)
    assert code != 0 and gone
    assert not list(tmp_path.glob("workbench-job*"))


def test_what_a_person_should_see_is_passed_on() -> None:
    seen = list[str]()
    seldom = Seldom(lambda step: seen.append(step.what))
    for step in (Step("a"), Step("b"), Step("c", notice=True), Step("d")):
        seldom(step)
    assert seen == ["a", "c"]


def test_a_snapshot_is_of_the_files_without_links(tmp_path: Path) -> None:
    root = write_fixture(tmp_path, "relu2")
    folder = root / "kernels/workbench_kernels"
    (folder / "helpers.py").write_text("shared")
    (folder / "other").mkdir()
    for name in ("kernel.py", "notes.txt"):
        (folder / "other" / name).write_text("1")
    (folder / "link.py").symlink_to("/etc/hostname")
    taken = snapshot(root, "relu2")
    there = {path.removeprefix("kernels/workbench_kernels/") for path in taken}
    assert {"helpers.py", "other/kernel.py", "relu2/spec.py"} <= there
    assert not {"link.py", "other/notes.txt"} & there
    assert content(root, "relu2").files.items() <= taken.items()


def test_no_such_place(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'nonsense' is no place"), executor("nonsense"):
        pass
    root = write_fixture(tmp_path, "relu2")
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "The library")
    process = subprocess.run(
        [sys.executable, "-m", "workbench", "bench", "relu2", "--on", "nonsense"],
        cwd=root,
        env=os.environ | {"PYTHONPATH": PATH},
        capture_output=True,
        text=True,
        check=False,
    )
    assert process.returncode == 2 and "local, ray, or ray://HOST:PORT" in process.stderr
