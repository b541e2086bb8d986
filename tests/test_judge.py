"""The judge passes a right op, and names what is wrong with each of many wrong ones.

Values, behaviour and interface are tried in this process; what an op does to the process it is in
(exit, hang, start others) is tried with the real `verify`.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import workbench_kernels
from workbench.judge import Check, Verdict, owntests, process, verify
from workbench.judge.behaviour import Behaviour
from workbench.judge.candidate import Candidate, load
from workbench.judge.interface import Interface
from workbench.judge.trial import conduct
from workbench.judge.values import Values

FIXTURE = Path(__file__).parent / "fixtures" / "relu2"
LIBRARY = Path(str(workbench_kernels.__file__)).parent
SEED = 3

RETURN = "    return y\n"
KEEP = "    return CACHE.setdefault((x.shape, x.dtype), y){}\n\n\nCACHE: Any = {{}}\n"
LOAD = "other=0.0).to({}tl.float32)\n    relu"
FAKE = "return torch.empty_like(x, memory_format=torch.contiguous_format)"
SPREAD = "return op.spread(relu2_backward(dy, x, needs), needs)"
CALL, MODULE = 'check("relu2", x=x)', "        return relu2(x)"

# Wrong ops: the check that must find each, the file, what is replaced in it, and by what.
WRONG = {
    "zero": ("forward", "kernel", "(relu * relu).to", "(relu * 0.0).to"),
    "bfloat16": ("forward", "kernel", LOAD.format(""), LOAD.format("tl.bfloat16).to(")),
    "returns_input": ("forward", "kernel", RETURN, "    return x\n"),
    "flipped": ("backward", "kernel", "dy * (2.0 * relu)", "dy * (-2.0 * relu)"),
    "no_gradient": ("backward", "kernel", SPREAD, "return (None,)"),
    "nan": ("nan and infinity", "kernel", "tl.where(x < 0.0, 0.0, x)", "tl.where(x > 0.0, x, 0.0)"),
    "overflow": ("magnitudes", "kernel", "relu * relu", "tl.exp(2.0 * tl.log(relu + 1e-9))"),
    "strides": ("layouts", "kernel", "x = x.contiguous()\n    y", "y"),
    "upstream": ("upstream gradients", "kernel", ", dy.contiguous()", ", dy"),
    "tail": ("poisoned memory", "kernel", "mask = offsets < n\n", "mask = offsets < n - 1\n"),
    "mutates": ("inputs unchanged", "kernel", RETURN, "    x.add_(1.0)\n" + RETURN),
    "noise": ("repeatable", "kernel", RETURN, "    return y * (1 + 1e-6 * torch.rand_like(y))\n"),
    "cache": ("no stale results", "kernel", RETURN, KEEP.format(".clone()")),
    "one_buffer": ("no stale results", "kernel", RETURN, KEEP.format(".copy_(y)")),
    "strided": ("form of outputs", "kernel", RETURN, "    return y.mT.contiguous().mT\n"),
    "other_module": ("module", "wrapper", MODULE, "        return relu2(x) * 1.01"),
    "any_dtype": ("refusals", "wrapper", CALL, "x = x.float()"),
    "wrong_fake": ("torch op", "kernel", FAKE, "return x.new_empty(x.numel())"),
    "graph_break": ("torch.compile", "wrapper", CALL, "print(x.sum().item())"),
    "twice": ("second derivative", "kernel", SPREAD, "return (dy * 2 * torch.relu(x.detach()),)"),
}


def write_op(root: Path, name: str, file: str = "", old: str = "", new: str = "") -> None:
    """relu2 under another name below `root`, with `old` replaced by `new` in one of its files."""
    folder = root / "kernels" / "workbench_kernels" / name
    folder.mkdir(parents=True)
    camel = "".join(part.capitalize() for part in name.split("_"))
    for path in FIXTURE.glob("*.py"):
        text = path.read_text()
        if path.stem == file:
            assert old in text
            text = text.replace(old, new)
        text = text.replace("relu2", name).replace("Relu2", camel)
        target = folder / path.name
        if path.stem == "tests_of_relu2":
            target = root / "tests" / "kernels" / f"test_{name}.py"
            target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with the library's own files and no op."""
    (tmp_path / "kernels" / "workbench_kernels").mkdir(parents=True)
    for path in LIBRARY.glob("*.py"):
        shutil.copy(path, tmp_path / "kernels" / "workbench_kernels")
    return tmp_path


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose ops this process can import."""
    package = str(tmp_path / "kernels" / "workbench_kernels")
    monkeypatch.setattr(workbench_kernels, "__path__", [*workbench_kernels.__path__, package])
    return tmp_path


def all_checks(op: Candidate) -> Iterator[Check]:
    for group in (Values(op, SEED), Behaviour(op, SEED), Interface(op, SEED)):
        for name, trials in group.checks().items():
            yield conduct(name, trials)


def one_check(op: Candidate, name: str) -> Check:
    groups = (Values(op, SEED), Behaviour(op, SEED), Interface(op, SEED))
    checks = {n: trials for group in groups for n, trials in group.checks().items()}
    return conduct(name, checks[name])


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_op_fails_the_check_that_looks_for_it(name: str, here: Path) -> None:
    check, file, old, new = WRONG[name]
    write_op(here, f"relu2_{name}", file, old, new)
    found = one_check(load(f"relu2_{name}"), check)
    assert found.status == "failed", found
    assert found.message


def test_a_right_op_passes_every_check(here: Path) -> None:
    write_op(here, "relu2_right")
    checks = list(all_checks(load("relu2_right")))
    assert [c for c in checks if c.status == "failed"] == []
    assert {c.name for c in checks if c.status == "skipped"} <= {"parameters", "large offsets"}
    assert {check for check, *_ in WRONG.values()} <= {c.name for c in checks if c.cases}


def test_large_offsets_look_at_the_last_rows(here: Path) -> None:
    write_op(here, "relu2_large")
    op = load("relu2_large")
    assert [c.message for c in Behaviour(op, SEED).repeated(64, 40, torch.float32)] == ["", ""]
    write_op(here, "relu2_wraps", "kernel", "mask = offsets < n\n", "mask = offsets < 2048\n")
    wraps = Behaviour(load("relu2_wraps"), SEED).repeated(64, 40, torch.float32)
    assert any(c.message for c in wraps)


def test_verify_passes_a_right_op(root: Path) -> None:
    write_op(root, "relu2")
    verdict = verify(root, "relu2", seed=SEED)
    assert verdict.passed, verdict.failures
    assert verdict.interpreted is not torch.cuda.is_available()
    assert verdict.dtypes == ("fp32", "bf16", "fp16")
    assert set(verdict.files) == {
        *(f"kernels/workbench_kernels/relu2/{name}.py" for name in ("spec", "kernel", "wrapper")),
        "tests/kernels/test_relu2.py",
    }
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    facts = verdict.summary()
    assert f"{verdict.cases} cases" in facts and verdict.cases > 90
    assert "forward and backward" in facts and "23 own tests" in facts
    assert not list(root.rglob("__pycache__"))


def test_an_exit_at_import_is_a_verdict(root: Path) -> None:
    write_op(root, "relu2", "wrapper", "class Relu2", "raise SystemExit(0)\n\n\nclass Relu2")
    verdict = verify(root, "relu2", seed=SEED)
    assert not verdict.passed
    assert [c.name for c in verdict.failures] == ["imports", "own tests"]
    assert "SystemExit" in verdict.failures[0].message


def test_an_exit_in_a_call_is_a_verdict_whatever_it_prints(root: Path) -> None:
    leave = 'import os\n    print("24 passed PASSED")\n    os._exit(0)\n    return y\n'
    write_op(root, "relu2", "kernel", "return y\n", leave)
    verdict = verify(root, "relu2", seed=SEED)
    assert not verdict.passed
    assert [c.name for c in verdict.failures] == ["finishes", "own tests"]
    assert verdict.failures[0].message == "exited with 0 in 'forward'"


def test_a_hang_is_a_verdict_and_leaves_no_process(root: Path) -> None:
    hang = (
        "import subprocess\n"
        '    sleeper = subprocess.Popen(["sleep", "600"])\n'
        f'    open("{root}/pids", "a").write(f"{{sleeper.pid}}\\n")\n'
        "    while True:\n        pass\n"
    )
    write_op(root, "relu2", "kernel", "return y\n", hang)
    verdict = verify(root, "relu2", seed=SEED, timeout=15)
    assert [c.name for c in verdict.failures] == ["finishes", "own tests"]
    assert "it hung in" in verdict.failures[0].message
    pids = (root / "pids").read_text().split()
    assert pids and not any(is_running(int(pid)) for pid in pids)


def is_running(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_children_get_no_secrets(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "secret")
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    child = process.environment(tmp_path)
    assert "secret" not in child.values() and "TRITON_INTERPRET" not in child
    assert child["PATH"] == os.environ["PATH"]
    assert child["PYTHONPATH"].split(os.pathsep)[0] == str(tmp_path / "kernels")


JUNIT = '<testsuites><testsuite tests="{}" skipped="{}" failures="{}">{}</testsuite></testsuites>'


@pytest.mark.parametrize(
    ("counts", "code", "status", "message"),
    [
        ((23, 0, 0), 0, "passed", ""),
        ((0, 0, 0), 5, "failed", "the file has no test that runs"),
        ((2, 2, 0), 0, "failed", "the file has no test that runs"),
        ((3, 0, 1), 1, "failed", "1 of 3 fail, first test_a: too far"),
        ((3, 0, 0), 1, "failed", "pytest failed without naming a test"),
        ((3, 0, 0), None, "failed", "not finished in time"),
    ],
)
def test_own_tests_must_run_and_pass(
    counts: tuple[int, int, int], code: int | None, status: str, message: str, tmp_path: Path
) -> None:
    failed = '<testcase name="test_a"><failure message="too far"/></testcase>' * counts[2]
    text = JUNIT.format(*counts, failed)
    (tmp_path / "result.xml").write_text(text)
    check = owntests.read(tmp_path / "result.xml", code, "")
    assert (check.status, check.message) == (status, message)


def test_own_tests_that_leave_no_record_fail(tmp_path: Path) -> None:
    check = owntests.read(tmp_path / "result.xml", 0, "Bye")
    assert (check.status, check.message) == ("failed", "ended with 0 before the tests did: Bye")


def test_a_summary_is_counted_from_the_checks() -> None:
    checks = (
        Check(name="forward", status="passed", cases=12, forward_error=0.481),
        Check(name="backward", status="failed", cases=12, backward_error=3.0, message="dx is off"),
        Check(name="large offsets", status="skipped", message="needs a GPU"),
        Check(name="own tests", status="passed", cases=9),
    )
    verdict = Verdict(op="relu2", seed=1, dtypes=("fp32", "bf16"), interpreted=True, checks=checks)
    assert not verdict.passed
    assert verdict.summary() == [
        "24 cases",
        "fp32 bf16",
        "forward and backward",
        "error <= 3x (eager's + 2 ulp)",
        "9 own tests",
        "1 of 4 checks failed",
        "interpreter: no GPU involved",
    ]


def test_a_verdict_without_checks_is_not_a_pass() -> None:
    assert not Verdict(op="relu2", seed=1).passed
