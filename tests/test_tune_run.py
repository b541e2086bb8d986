"""`workbench tune` as a run: profile, tune, verify, compare, a review; and the panel's real judge.

No time is measured: a made-up GPU stands for `measure`.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from court import write_library
from runs_fixtures import APPROVER, Recorder, everything, git, without_gpu
from tuning_fixtures import GPU, SIZES, SOURCE, Bench, Judge, cost, record

from workbench.authors import Assignment, get
from workbench.bench import diagnose as diagnosing
from workbench.bench import tasks
from workbench.bench.diagnosis import Diagnosed, Diagnosis
from workbench.errors import RepositoryError, UsageError
from workbench.evidence import Evidence
from workbench.evidence.document import Document
from workbench.jobs import local, lock
from workbench.jobs.gpus import Gpu
from workbench.jobs.local import Local
from workbench.judge.verdict import Check, Verdict
from workbench.layout import op_paths
from workbench.profile import analyze
from workbench.reference import find
from workbench.repository import Repository, content
from workbench.runs import Run, State
from workbench.runs.engine import Engine
from workbench.runs.stages import STAGES
from workbench.tune import stages
from workbench.tune.panel import Panel
from workbench.tune.rewrites import Findings
from workbench.tune.sweep import KERNEL
from workbench.tune.wave import Idea
from workbench.tune.worktrees import Variants

OP = "rms_norm"
WEATHER = "backward 4096 x 65536: bound by the weather"


def committed(root: Path) -> Path:
    git(root, "init", "--quiet", "--initial-branch=main")
    git(root, "config", "user.name", "Ada Lovelace")
    git(root, "config", "user.email", "ada@example.org")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "-m", "The library")
    return root


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """A committed library with one op, whose kernel declares what can be tuned."""
    root = write_library(tmp_path / "library")
    folder, test = (root / path for path in op_paths(OP))
    folder.mkdir()
    (folder / KERNEL).write_text(SOURCE)
    for name in ("spec.py", "wrapper.py"):
        (folder / name).write_text(f'"""{name}"""\n')
    test.parent.mkdir(parents=True)
    test.write_text("def test_it() -> None: ...\n")
    return committed(root)


@pytest.fixture
def made_up(monkeypatch: pytest.MonkeyPatch) -> Bench:
    """A GPU on which everything takes what `cost` says, and a judge that lets everything in."""
    bench, judge = Bench(), Judge()

    def panel(
        self: Panel, best: Idea, known: Evidence | None, ideas: Sequence[Idea]
    ) -> Mapping[str, Evidence]:
        root = self.variants.root(best)
        assert (root / op_paths(OP)[0] / KERNEL).read_text() == best.sources[KERNEL]
        return judge(best, known, ideas)

    def verify(root: Path, op: str) -> Verdict:
        files = content(root, op).digests
        return Verdict(op=op, seed=1, files=files, checks=(Check(name="forward", status="passed"),))

    class Properties:
        total_memory = 140 << 30

    def diagnose(root: Path, found: Any, sizes: Any, timeout: float) -> Diagnosis:
        said = Diagnosed(rows=1, cols=1, dtype="bfloat16", ways=(), problem=WEATHER)
        return Diagnosis(op=OP, device=GPU, sizes=(said,))

    monkeypatch.setattr(diagnosing, "diagnose", diagnose)
    monkeypatch.setattr(tasks, "measure", bench)
    monkeypatch.setattr(local, "gpus", lambda: [Gpu("GPU-made-up", "GPU-made-up", GPU)])
    monkeypatch.setattr(lock, "gpus", lambda: [])
    monkeypatch.setattr(Panel, "__call__", panel)
    monkeypatch.setattr("workbench.judge.verify", verify)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: GPU)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: Properties)
    return bench


def start(root: Path, **asked: Any) -> tuple[Engine, Run]:
    engine = Engine(Repository.discover(root), STAGES, Recorder())
    wanted = {"targets": (), "minutes": 5.0, "sizes": None, "dtype": None, "author": None}
    wanted |= {"on": "local", "model": None} | asked
    return engine, engine.start(stages.request(engine.repository, OP, **wanted))


def test_a_tuned_op_waits_for_a_person_and_is_committed(library: Path, made_up: Bench) -> None:
    before = everything(library)
    engine, run = start(library)
    assert run.state is State.REVIEW, run.reason
    assert everything(library) == before
    said = [event for event in engine._progress.events if "..." not in event]  # type: ignore[attr-defined]
    waves = ["wave 1: judging 11 variants", "wave 1: timing 10 variants"]
    assert said[:3] == ["profile ok", *waves]
    assert said[-3:] == ["tune ok", "verify ok", "compare ok"]
    worktrees = sorted(p.name for p in (library / ".workbench/worktrees").glob("*/"))
    assert worktrees == [run.id, f"{run.id}-base"]
    notebook = engine.store.folder_of(run.id) / "notebook.md"
    assert notebook.read_text().startswith(f"# {run.id} on {GPU}")

    run = engine.approve(run.id, APPROVER)
    assert run.state is State.COMMITTED and run.approval is not None
    tip = f"workbench/{run.id}"
    changed = git(library, "diff", "--name-only", "main", tip).splitlines()
    folder = op_paths(OP)[0]
    assert changed == [f"{folder}/evidence.json", f"{folder}/{KERNEL}"]
    assert git(library, "show", "-s", "--format=%s", tip) == f"Tune {OP}"
    git(library, "merge", "--quiet", tip)
    kinds = [e.kind for e in Document.load(library, OP).evidence]
    assert kinds == ["verification", "measurement"]
    assert not list((library / ".workbench/worktrees").glob("*/"))
    kept = engine.store.evidence(run=run.id)
    assert len(kept) > 20  # every verdict and every race, of losers too


def test_sizes_are_raced_apart_on_several_gpus(
    library: Path, made_up: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One job to a size, each a record; the rest of a run is the same."""
    two = [Gpu(f"GPU-{n}", f"GPU-{n}", GPU) for n in range(2)]
    monkeypatch.setattr(local, "gpus", lambda: two)
    monkeypatch.setattr(Local, "apart", False)  # made up, so in this process
    engine, run = start(library)
    assert run.state is State.REVIEW, run.reason
    races = [e for e in engine.store.evidence(run=run.id) if len(e.data.get("points", [])) == 1]
    assert len(races) % len(SIZES) == 0 and races
    notebook = (engine.store.folder_of(run.id) / "notebook.md").read_text()
    assert ", ".join(race.id[:12] for race in races[: len(SIZES)]) in notebook


def test_tuning_is_for_one_model_of_gpu(
    library: Path, made_up: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = [Gpu("GPU-1", "GPU-1", "A100"), Gpu("GPU-2", "GPU-2", "H100")]
    monkeypatch.setattr(local, "gpus", lambda: models)
    with pytest.raises(UsageError, match="several models of GPU") as error:
        start(library)
    assert "--model, one of A100, H100" in error.value.hint
    with pytest.raises(UsageError, match="has no 'B200'"):
        start(library, model="B200")


def test_what_is_at_its_best_stays(library: Path, made_up: Bench) -> None:
    made_up.cost = lambda kernel, rows, cols, way: 1e-4
    engine, run = start(library)
    assert run.state is State.UNCHANGED
    assert run.reason == "nothing is faster: 2 waves in a row gained no 1.0%"
    assert engine.resume(run.id).state is State.UNCHANGED
    assert not (library / ".workbench/worktrees" / run.id).exists()
    assert git(library, "branch", "--list", "workbench/*") == ""


def test_a_target_that_is_reached_needs_no_search(library: Path, made_up: Bench) -> None:
    _, run = start(library, targets=("fwd>=0.1",))
    assert run.state is State.UNCHANGED and "fwd>=0.1 is reached" in run.reason


def test_what_costs_elsewhere_does_not_reach_the_review(
    library: Path, made_up: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seen only when everything is measured: in the races that size was as fast."""
    small = (256, 4096)

    def pays(kernel: str, rows: int, cols: int, way: Any) -> float:
        slower = 1.5 if (rows, cols) == small and kernel != SOURCE else 1.0
        return cost(kernel, rows, cols, way) * slower

    def measure(root: Path, op: str, plan: Any, *rest: object) -> Any:
        made_up.cost = cost if plan.race or plan.rivals else pays
        return made_up(root, op, plan, *rest)

    monkeypatch.setattr(tasks, "measure", measure)
    _, run = start(library)
    assert run.state is State.FAILED
    assert run.reason.startswith("compare: ") and "256 x 4096 takes 1." in run.reason


class Author:
    """One that was told everything, and has no idea."""

    name = "author"

    def __init__(self) -> None:
        self.told = list[Findings]()

    def improve(self, found: Findings) -> None:
        self.told.append(found)


def test_an_author_is_told_where_the_time_goes(
    library: Path, made_up: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    author = Author()
    monkeypatch.setattr(stages, "improver", lambda name: author)
    engine, run = start(library, author="author")
    assert run.state is State.REVIEW, run.reason
    (told,) = author.told
    assert told.spec == '"""spec.py"""\n' and told.op == OP
    assert told.sources[KERNEL] != SOURCE  # what the sweep found
    assert told.diagnosis[-1] == WEATHER
    assert "## Wave 1" in told.notebook
    said = engine._progress.events  # type: ignore[attr-defined]
    assert "where the time goes at 4096 x 65536" in said


def test_an_author_that_can_not_improve_is_refused(library: Path, made_up: Bench) -> None:
    with pytest.raises(UsageError, match="'draft' writes ops and can't make one faster"):
        start(library, author="draft")


def test_only_what_is_committed_is_tuned(library: Path, made_up: Bench) -> None:
    folder = library / op_paths("other")[0]
    folder.mkdir()
    (folder / "spec.py").write_text("")
    repository = Repository.discover(library)
    with pytest.raises(RepositoryError, match="other is not in HEAD"):
        stages.request(repository, "other", (), 1.0, None, None, None, "local", None)
    with pytest.raises(UsageError, match="no op 'nope'"):
        stages.request(repository, "nope", (), 1.0, None, None, None, "local", None)


def test_the_command_says_that_it_needs_a_gpu(library: Path) -> None:
    def tune(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "workbench", "tune", *arguments]
        return subprocess.run(
            command, cwd=library, env=without_gpu(), capture_output=True, text=True, check=False
        )

    done = tune(OP)
    assert done.returncode == 2
    assert "tune needs a GPU, and this machine has none" in done.stderr
    assert f"workbench bench {OP}" in done.stderr
    assert "'nowhere' is no place to run jobs" in tune(OP, "--on", "nowhere").stderr
    assert "no target" in tune(OP, "--target", "fast").stderr
    answer = json.loads(tune(OP, "--author", "nobody", "--json").stdout)
    assert answer["exit_code"] == 2 and "there is no author 'nobody'" in answer["error"]


@pytest.mark.parametrize("places", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_panel_asks_the_judge(places: int, tmp_path: Path) -> None:
    """The real one: a variant with other numbers passes, one that leaves out its work does not."""
    root = write_library(tmp_path)
    (root / "tests/kernels").mkdir(parents=True)
    reference = find("relu2")
    profile = analyze(reference, "relu2")
    get("draft").write(Assignment(profile=profile, reference=reference, root=root, folder=root))
    committed(root)
    folder = root / op_paths("relu2")[0]
    sources = {name: (folder / name).read_text() for name in (KERNEL, "wrapper.py")}

    def idea(name: str, old: str, new: str) -> Idea:
        assert old in sources[KERNEL]
        text = sources[KERNEL].replace(old, new)
        return Idea(name=name, hypothesis="", expected=0, sources={**sources, KERNEL: text})

    same = idea("same", "", "")
    other = idea("other", '"elements": 2048', '"elements": 512')
    lazy = idea("lazy", "y = relu * relu", "y = relu * 0.0")
    repository = Repository.discover(root)
    variants = Variants(repository, "relu2-1234", repository.head(), "relu2")
    gpus = [Gpu(f"GPU-{n}", f"GPU-{n}", "made up") for n in range(places)]
    panel = Panel(variants, Local(gpus), "", lambda what: None)
    found = panel(same, None, [other, lazy])
    assert found[same.digest].passed and found[other.digest].passed
    assert not found[lazy.digest].passed
    assert found[same.digest].files == content(root, "relu2").digests
    names = [{check["name"] for check in found[i.digest].data["checks"]} for i in (same, other)]
    assert names[0] == names[1]
    kernel = f"{op_paths('relu2')[0]}/{KERNEL}"
    digest = hashlib.sha256(other.sources[KERNEL].encode()).hexdigest()
    assert found[other.digest].files == {**found[same.digest].files, kernel: digest}
    assert (folder / KERNEL).read_text() == sources[KERNEL]
    variants.remove()
    assert git(root, "worktree", "list", "--porcelain").count("worktree ") == 1


def test_records_survive_the_way(tmp_path: Path) -> None:
    made = record("verification", {"passed": True})
    assert Evidence.model_validate_json(made.text).id == made.id
