"""Where an op's tests run: on its device, and for what they notice in the interpreter."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from court import write_fixture

from workbench.judge import sandbox, suite
from workbench.judge.place import Place
from workbench.judge.remote import Remote
from workbench.judge.stage import ORIGINAL, Stage, prepare
from workbench.judge.suite import SuiteResult
from workbench.judge.suites import Suites, mutation_score, own_tests
from workbench.referee.__main__ import Referee

GREEN = SuiteResult(code=0, passed=3)
RED = SuiteResult(code=1, passed=2, failed=1, failures=["test_x: it is wrong"])
GPU, INTERPRETER = SimpleNamespace(host="gpu"), SimpleNamespace(host="interpreter")


def lay_out(folder: Path) -> Stage:
    """relu2, as the judge lays it out."""
    root = write_fixture(folder / "repository", "relu2")
    (judge := folder / "judge").mkdir()
    return prepare(root, "relu2", judge)


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return lay_out(tmp_path)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], SuiteResult]]:
    """What becomes of other tests of relu2, all in one place."""
    stage, deadline = lay_out(tmp_path_factory.mktemp("stage")), time.monotonic() + 120
    with Place(stage, sandbox.find(), "cpu", deadline) as place:

        def run(tests: str) -> SuiteResult:
            stage.test.write_text(tests)
            return suite.run(place.host, stage, stage.variant(ORIGINAL), deadline)

        yield run


def test_tests_that_abort_say_why(run: Callable[[str], SuiteResult]) -> None:
    """A library's last words, written past Python's own output."""
    found = run(
        "import os\n\n\n"
        "def test_it() -> None:\n"
        "    os.write(2, b'  what():  no more of it\\nframe #0: main\\n')\n"
        "    os.abort()\n"
    )
    assert found.problem == ("the tests' process killed by SIGABRT (what():  no more of it)")


def test_what_is_used_first_is_there_before_the_tests(run: Callable[[str], SuiteResult]) -> None:
    """What they would import of PyTorch's compiler, each run anew."""
    found = run(
        "import sys\n\n"
        "from workbench_kernels import testing\n"
        "from workbench_kernels.relu2 import spec, wrapper\n\n\n"
        "def test_it() -> None:\n"
        "    before = {*sys.modules}\n"
        "    testing.check_torch_op(spec.SPEC, wrapper.relu2)\n"
        "    more = [m for m in {*sys.modules} - before if m.startswith('torch._inductor.')]\n"
        "    assert len(more) < 10, more\n"
    )
    assert found.is_green, found.problem


def test_a_referee_may_remember(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is expected of inputs is asked for once, whoever asks; of others, or in another layout,
    anew; and the worst roundings again, where they were forgotten.
    """
    asked = list[str]()
    of = Remote.ask

    def ask(self: Remote, body: dict[str, Any], tensors: Any = ()) -> Any:
        asked.append(body["do"])
        return of(self, body, tensors)

    monkeypatch.setattr(Remote, "ask", ask)
    deadline = time.monotonic() + 120
    with Place(stage, sandbox.find(), "cpu", deadline, remembers=True, candidates=False) as place:
        (x,) = place.referee.draw(3, 5, torch.float32, 1)
        asked.clear()
        first = place.referee.expect([x], seed=1)
        assert place.referee.expect([x.clone()], seed=1) is first
        others = [([x + 1], 1), ([x], 2), ([x.t().contiguous().t()], 1)]
        for inputs, seed in others:
            assert place.referee.expect(inputs, seed=seed) is not first
        assert asked == ["expect"] * 4
        for number in range(40):  # more than the referee keeps
            place.referee.expect([x], seed=10 + number)
        assert torch.equal(first.worst_error["y"], first.find_worst()["y"])


def test_a_referee_gives_old_answers_up_where_memory_is_short() -> None:
    """One that fits beside them is given at once; one that fits nowhere is an error."""
    served = Referee(SimpleNamespace(), SimpleNamespace(), "cpu")  # type: ignore[arg-type]
    room = 1

    def answer(*_: Any) -> tuple[dict[str, Any], list[torch.Tensor]]:
        if len(served._expected) >= room:
            raise torch.OutOfMemoryError
        return {}, []

    def ask() -> Any:
        return served._with_room(answer, {}, [], torch.device("cpu"))

    old: Any = object()
    assert ask() == ({}, [])
    served._expected[0] = old
    assert ask() == ({}, []) and not served._expected
    room = 0
    with pytest.raises(torch.OutOfMemoryError):
        ask()


class Runs:
    """Stands for `suite.run`: green on the op and in other words, red on mutants, but for what
    `results` says of (host, variant); counts the runs by host and variant.
    """

    def __init__(self, results: dict[tuple[str, str], SuiteResult]) -> None:
        self.results, self.seen = results, Counter[tuple[str, str]]()
        self.names: dict[str, str] = {}  # of the variants, by their folders' names

    def __call__(
        self, host: Any, stage: Stage, folder: Path, deadline: float, **options: bool
    ) -> SuiteResult:
        name = self.names[folder.name]
        variant = "mutant" if "@" in name else name
        self.seen[host, variant] += 1
        return self.results.get((host, variant), RED if variant == "mutant" else GREEN)


def conducted(stage: Stage, runs: Runs, device: Any, monkeypatch: pytest.MonkeyPatch) -> Suites:
    monkeypatch.setattr(suite, "run", runs)
    variant = Stage.variant

    def noted(stage: Stage, name: str) -> Path:
        runs.names[(folder := variant(stage, name)).name] = name
        return folder

    def is_wrong(place: Any, folder: Path) -> str:
        runs.seen[place.host, "looked at"] += 1
        return "" if "sign" in runs.names[folder.name] else "y is wrong"

    monkeypatch.setattr(Stage, "variant", noted)

    suites = Suites(stage, time.monotonic() + 60, device, INTERPRETER, is_wrong)
    suites.join()
    return suites


def test_on_a_gpu_the_mutants_run_in_the_interpreter(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites = conducted(stage, runs := Runs({}), GPU, monkeypatch)
    assert {variant for host, variant in runs.seen if host == "gpu"} == {ORIGINAL}
    assert runs.seen["interpreter", "mutant"] == len(suites.mutants) >= 10
    assert own_tests(suites).status == mutation_score(suites).status == "passed"


def test_without_a_gpu_the_op_runs_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    conducted(stage, runs := Runs({}), INTERPRETER, monkeypatch)
    assert runs.seen["interpreter", ORIGINAL] == 1


def test_what_the_interpreter_can_not_run_is_tried_on_the_gpu(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs = Runs({("interpreter", ORIGINAL): RED, ("gpu", "mutant"): GREEN})
    suites = conducted(stage, runs, GPU, monkeypatch)
    assert own_tests(suites).status == "passed"
    assert mutation_score(suites).status == "failed"
    assert runs.seen["gpu", "mutant"] == runs.seen["gpu", "looked at"] == len(suites.mutants)
    fates = {m.fate for m in suites.mutants if "sign" in m.name}
    assert fates == {"harmless"}


def test_what_fails_on_the_gpu_fails(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    suites = conducted(stage, runs := Runs({("gpu", ORIGINAL): RED}), GPU, monkeypatch)
    assert own_tests(suites).message == "1 of 3 fail, first test_x: it is wrong"
    assert mutation_score(suites).status == "skipped"
    assert not runs.seen["gpu", "mutant"]


def test_a_suite_that_looks_at_the_text_fails(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    suites = conducted(stage, Runs({("interpreter", "neutral"): RED}), GPU, monkeypatch)
    assert "look at its text" in own_tests(suites).message


def test_what_is_no_program_has_no_mutants(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    (stage.suite / "relu2" / "kernel.py").write_text("def (")
    suites = conducted(stage, Runs({("interpreter", ORIGINAL): RED}), INTERPRETER, monkeypatch)
    assert own_tests(suites).status == "failed"
    assert suites.mutants == []


def test_a_path_does_not_tell_which_variant_lies_there(stage: Stage, tmp_path: Path) -> None:
    (again := tmp_path / "again").mkdir()
    other = prepare(tmp_path / "repository", "relu2", again)
    folders = [s.variant(name).name for s in (stage, other) for name in (ORIGINAL, "zero-output@1")]
    assert len(set(folders)) == 4
    assert {len(name) for name in folders} == {16}
    assert stage.variant(ORIGINAL).is_dir()
