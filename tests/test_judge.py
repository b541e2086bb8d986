"""The judge passes a right op, and names what is wrong with each of many wrong ones."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from court import Court, court, write_library

from workbench.judge import Check, Verdict, verify
from workbench.judge.checks import Spec, Values
from workbench.judge.checks.cases import Planted
from workbench.judge.host import Host
from workbench.judge.trial import Wrong
from workbench.worker import serve
from workbench.worker.calls import Call
from workbench_kernels.spec import OpSpec, Traffic
from workbench_kernels.truth import Expected

FIXTURE = Path(__file__).parent / "fixtures" / "relu2"

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
    return write_library(tmp_path)


@pytest.fixture(scope="module")
def relu2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Court]:
    root = write_library(tmp_path_factory.mktemp("relu2"))
    write_op(root, "relu2")
    with court(root, "relu2", SEED) as opened:
        yield opened


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_op_fails_the_check_that_looks_for_it(name: str, relu2: Court) -> None:
    check, file, old, new = WRONG[name]
    source = relu2.sources()[f"{file}.py"]
    assert old in source
    *_, found = relu2.checks({f"{file}.py": source.replace(old, new)}, [check])
    assert (found.name, found.status) == (check, "failed"), found
    assert found.message


def test_a_right_op_passes_every_check(relu2: Court) -> None:
    checks = relu2.checks()
    assert [c for c in checks if c.status == "failed"] == []
    elsewhere = {"parameters", "large offsets", "clock", "gpu time"}
    assert {c.name for c in checks if c.status == "skipped"} <= elsewhere
    assert {check for check, *_ in WRONG.values()} <= {c.name for c in checks if c.cases}


def test_large_offsets_look_at_the_last_rows(relu2: Court) -> None:
    assert relu2.repeated() == ["", ""]
    wraps = relu2.sources()["kernel.py"].replace("mask = offsets < n\n", "mask = offsets < 2048\n")
    assert any(relu2.repeated({"kernel.py": wraps}))


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
    assert verdict.sandbox and verdict.library
    assert {m.fate for m in verdict.mutants} <= {"killed", "harmless"} and len(verdict.mutants) > 9
    assert Verdict.model_validate_json(verdict.model_dump_json()) == verdict
    facts = verdict.summary()
    assert f"{verdict.cases} cases" in facts and verdict.cases > 90
    assert "forward and backward" in facts and "23 own tests" in facts
    assert not list(root.rglob("__pycache__"))


def test_some_checks_are_no_verdict(root: Path) -> None:
    write_op(root, "relu2")
    verdict = verify(root, "relu2", seed=SEED, only=["forward"])
    assert [check.name for check in verdict.checks] == ["forward"]
    assert not verdict.failures and not verdict.passed


def test_an_exit_at_import_is_a_verdict(root: Path) -> None:
    write_op(root, "relu2", "wrapper", "class Relu2", "raise SystemExit(0)\n\n\nclass Relu2")
    failures = {c.name: c.message for c in verify(root, "relu2", seed=SEED).failures}
    assert "SystemExit" in failures["imports"] and "own tests" in failures


def test_an_exit_in_a_call_is_a_verdict_whatever_it_prints(root: Path) -> None:
    leave = 'import os\n    print("24 passed PASSED")\n    os._exit(0)\n    return y\n'
    write_op(root, "relu2", "kernel", "return y\n", leave)
    failures = {c.name: c.message for c in verify(root, "relu2", seed=SEED).failures}
    assert failures["process"] == "exited with 0, during 'forward'"
    assert failures["own tests"] == "the tests' process exited with 0"


def test_a_hang_is_a_verdict(root: Path) -> None:
    write_op(root, "relu2", "kernel", "return y\n", "while True:\n        pass\n")
    started = time.monotonic()
    failures = {c.name: c.message for c in verify(root, "relu2", seed=SEED, timeout=12).failures}
    assert failures["process"] in (
        "hangs: no answer in time, during 'forward'",
        "ran out of time, during 'forward'",
    )
    assert time.monotonic() - started < 40


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("import torch\n", "import torch, sys\nprint('hello')\nsys.exit(3)\n", "SystemExit: 3"),
        ("SPEC = OpSpec(", "SPEC = dict(", "no OpSpec"),
        ("import torch\n", "import torch, os\nos._exit(0)\n", "exited early"),
        ("torch.randn(rows, cols)", "torch.zeros(rows, cols)", "the same for every seed"),
        ("torch.relu(x).square()", "x * 0.0", "is zero everywhere"),
        ("(7, 4097)", "(7, 3)", ""),
        ("((1, 1), (1, 128), (3, 1000), (128, 100), (7, 4097))", "((1, 1),)", "2 rows and 8 col"),
        ('name="relu2"', 'name="relu"', "the spec names relu, the folder relu2"),
        ("    sweep=", "    dtypes=(torch.float16,),\n    sweep=", "serves float32 and one of"),
        ("    sweep=((1024, 4096), (8192, 4096), (8192, 14336))", "    sweep=()", "no size to"),
    ],
)
def test_a_spec_that_asks_nothing_is_refused(
    old: str, new: str, says: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a worker host: nothing of the candidate is run."""
    monkeypatch.setattr(Host, "__enter__", None)
    write_op(root, "relu2", "spec", old, new)
    verdict = verify(root, "relu2", seed=SEED, only=["spec"])
    messages = [check.message for check in verdict.failures if check.name == "spec"]
    assert (says in messages[0]) if says else not messages


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


@pytest.mark.parametrize(
    ("gives", "right"), [((0.0, math.nan), True), ((math.nan,) * 2, True), ((0.0, 1.0), False)]
)
def test_an_infinity_may_lead_to_what_it_does_on_a_cpu(
    gives: tuple[float, float], right: bool
) -> None:
    """PyTorch's fused rms_norm loses the whole row on a GPU, and elsewhere only the infinity."""
    lost = {"": (math.nan, math.nan), "cpu": (0.0, math.nan)}

    class Op:
        def expect(self, inputs: object, seed: int, device: str = "") -> Expected:
            values = {"y": torch.tensor(lost[device])}
            exact = {"y": torch.zeros(2, dtype=torch.float64)}
            return Expected(values, {"y": values["y"].double()}, (), lambda: exact)

        def run(self, inputs: object, expected: Expected) -> dict[str, torch.Tensor]:
            return {"y": torch.tensor(gives)}

    x = torch.tensor([1.0, math.inf])
    planted = Planted((x,), "x", math.inf, torch.tensor([1]), x.shape)
    found = Values(Op(), 1, 1)._special(planted)  # type: ignore[arg-type]
    assert all(not comparison.message for comparison in found) is right


def test_an_op_of_the_library_is_none_of_pytorchs() -> None:
    """Though it was imported here, as a user may have; what runs inside of it is recorded too."""
    from workbench.judge.checks import work
    from workbench_kernels.rms_norm import wrapper  # noqa: F401

    work._builtin.cache_clear()
    assert not work._computes("workbench_kernels.rms_norm.default")
    assert work._computes("aten.mul.Tensor") and work._computes("aten.no_such_op.default")


def test_a_module_is_not_passed_what_it_was_made_without() -> None:
    x = torch.randn(2, 3)
    call = Call(("x", "bias"), (x, x[0]), (), (None,), {"bias": None})
    double = serve._as_function(Double(), call)
    assert torch.equal(double(x=x, bias=None), 2 * x)
    with pytest.raises(TypeError, match="unexpected keyword argument 'bias'"):
        double(x=x, bias=x[0])


@pytest.mark.parametrize(("parameters", "groups"), [({}, 1), ({"groups": 4}, 4)])
def test_a_module_is_made_with_what_the_function_takes_unless_told(
    parameters: dict[str, int], groups: int
) -> None:
    def function(x: torch.Tensor, groups: int = 1, width: int | None = None) -> torch.Tensor:
        return x

    class Grouped(torch.nn.Module):
        def __init__(self, groups: int, width: int) -> None:
            super().__init__()
            self.sizes = groups, width

    call = Call(("x",), (torch.randn(2, 8),), (), (None,), parameters)
    assert serve._module(Grouped, function, call).sizes == (groups, 8)


class Double(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return 2 * x


def test_products_are_for_those_who_say_so() -> None:
    from workbench.judge.checks import work

    for name in ("mm.out", "addmm.dtype_out", "addmm_.default", "_local_scalar_dense.default"):
        assert work._computes(f"aten.{name}")
        assert not work._computes(f"aten.{name}", work._MULTIPLY)
    for name in ("aten.bmm.out", "aten.sum.default", "prims.mm.default"):
        assert work._computes(name, work._MULTIPLY)


@pytest.mark.parametrize("cols", [40, 41])
def test_rows_and_columns_of_a_product_are_each_a_side(cols: int) -> None:
    class Referee:
        spec = OpSpec(
            name="product",
            tier=3,
            reference=torch.mm,
            inputs=lambda rows, cols: (),
            tensors=("x", "weight"),
            differentiable=("x", "weight"),
            products=True,
            forward=Traffic(reads=0, writes=0),
            backward=Traffic(reads=0, writes=0),
            shapes=(),
            sweep=(),
        )

        def draw(self, rows: int, cols: int, *_: object) -> tuple[torch.Tensor, ...]:
            return torch.zeros(rows, 7), torch.zeros(40, 7)

    spec = Spec(Referee(), "product", 1)  # type: ignore[arg-type]
    if cols == 40:
        spec._draws(3, cols)
    else:
        with pytest.raises(Wrong, match="3 and 41 are no sides"):
            spec._draws(3, cols)
