"""The static report of ops written here: one that is fine, and one with a kernel for every flaw."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from court import write_fixture

import workbench_kernels
from workbench.bench.architectures import ARCHITECTURES, architecture
from workbench.bench.static import KernelUsage, StaticReport, static_report
from workbench.errors import UsageError, WorkbenchError
from workbench.layout import op_paths

SPEC = """
import torch
from workbench_kernels.spec import OpSpec, Traffic

SPEC = OpSpec(
    name="{op}", tier=2, reference=lambda x, w: x * w, tensors=("x", "w"), differentiable={names},
    inputs=lambda rows, cols: (torch.randn(rows, cols), torch.randn(cols)),
    forward=Traffic(reads=1, writes=1), backward=Traffic(reads=2, writes=1),
    shapes=((3, 5),), sweep={sweep},
)
"""
WRAPPER = """
from workbench_kernels.launch import check
from workbench_kernels.{op} import kernel

def {op}(x, w):
    check("{op}", x=x, w=w)
    return kernel.{op}(x, w)
"""
RMS_NORM = """
import torch, triton
import triton.language as tl
from torch import Tensor
from workbench_kernels import op
from workbench_kernels.launch import device_of
from workbench_kernels.partials import add_parts

@triton.jit
def _rms_norm_fwd(Y, RSTD, X, W, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < n_cols
    x = tl.load(X + row * n_cols + cols, mask=mask, other=0.0).to(tl.float32)
    w = tl.load(W + cols, mask=mask, other=0.0).to(tl.float32)
    rstd = tl.rsqrt(tl.sum(x * x, 0) / n_cols + 1e-6)
    tl.store(RSTD + row, rstd)
    tl.store(Y + row * n_cols + cols, (x * rstd * w).to(Y.dtype.element_ty), mask=mask)

@triton.jit
def _rms_norm_bwd(DX, PARTS, DY, X, W, RSTD, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.arange(0, BLOCK)
    mask = cols < n_cols
    x = tl.load(X + row * n_cols + cols, mask=mask, other=0.0).to(tl.float32)
    dy = tl.load(DY + row * n_cols + cols, mask=mask, other=0.0).to(tl.float32)
    w = tl.load(W + cols, mask=mask, other=0.0).to(tl.float32)
    rstd = tl.load(RSTD + row)
    if DX is not None:
        mean = tl.sum(dy * w * x, 0) / n_cols
        dx = rstd * (dy * w - x * rstd * rstd * mean)
        tl.store(DX + row * n_cols + cols, dx.to(DX.dtype.element_ty), mask=mask)
    if PARTS is not None:
        tl.store(PARTS + row * n_cols + cols, dy * x * rstd, mask=mask)

def forward(x: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
    y, rstd = torch.empty_like(x), x.new_empty(len(x), dtype=torch.float32)
    n_cols = x.shape[1]
    block = triton.next_power_of_2(n_cols)
    with device_of(x):
        _rms_norm_fwd[(len(x),)](y, rstd, x, w, n_cols, BLOCK=block)
    return y, rstd

def backward(dy: Tensor, x: Tensor, w: Tensor, rstd: Tensor, needs: list[bool]) -> list[Tensor]:
    dx = torch.empty_like(x) if needs[0] else None
    parts = x.new_empty(x.shape, dtype=torch.float32) if needs[1] else None
    n_cols = x.shape[1]
    block = triton.next_power_of_2(n_cols)
    with device_of(x):
        _rms_norm_bwd[(len(x),)](dx, parts, dy, x, w, rstd, n_cols, BLOCK=block)
    dw = None if parts is None else add_parts(parts, w.shape, w.dtype)
    return [grad for grad in (dx, dw) if grad is not None]

def _save(ctx, inputs, output):
    ctx.save_for_backward(*inputs, output[1])
    ctx.mark_non_differentiable(output[1])

def _differentiate(ctx, dy, _):
    needs = list(ctx.needs_input_grad)
    return op.spread(rms_norm_backward(dy, *ctx.saved_tensors, needs), needs)

def no_fake(*args):
    raise AssertionError("the host code must run, not the fake")

_rms_norm = op.define("rms_norm", forward, fake=no_fake)
rms_norm_backward = op.define("rms_norm_backward", backward, fake=no_fake)
op.autograd("rms_norm", save=_save, backward=_differentiate)

def rms_norm(x, w):
    return _rms_norm(x, w)[0]
"""
FLAWED = """
import torch, triton
import triton.language as tl
from torch import Tensor
from workbench_kernels import op

@triton.jit
def _spills(Y, X, BLOCK: tl.constexpr):
    i = tl.arange(0, BLOCK)
    x = tl.load(X + i).to(tl.float32)
    tl.store(Y + i, (x / tl.sum(tl.exp(x), 0) - tl.max(x, 0)).to(Y.dtype.element_ty))

@triton.jit
def _rows(Y, X, stride, BLOCK: tl.constexpr):
    i = tl.program_id(0) * stride + tl.arange(0, BLOCK)
    tl.store(Y + i, tl.load(X + i))

@triton.jit
def _too_much_shared(Y, X, N: tl.constexpr, K: tl.constexpr):
    n, k = tl.arange(0, N), tl.arange(0, K)
    a = tl.load(X + n[:, None] * K + k[None, :])
    b = tl.load(X + k[:, None] * N + n[None, :])
    tl.store(Y + n[:, None] * N + n[None, :], tl.dot(a, b).to(Y.dtype.element_ty))

@triton.jit
def _broken(Y, n: tl.constexpr):
    tl.store(Y + tl.arange(0, n), 0.0)

def forward(x: Tensor, w: Tensor) -> Tensor:
    y = torch.empty_like(x)
    _spills[(1,)](y, x, BLOCK=8192, num_warps=1)
    _rows[(1,)](y, x, x.shape[1], BLOCK=2048)
    _broken[(1,)](y, n=3)
    _too_much_shared[(1,)](y, x, N=128, K=512)
    if x.shape[1] == 1025:
        raise KeyError("an odd width")
    if x.shape == (2, 8192):
        raise KeyError("lone rows")
    return y

flawed = op.define("flawed", forward, fake=forward)
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with this library's shared files and the ops of this file."""
    root = tmp_path_factory.mktemp("library")
    package = root / "kernels" / "workbench_kernels"
    package.mkdir(parents=True)
    for file in Path(workbench_kernels.__file__).parent.glob("*.py"):
        shutil.copy(file, package)
    ops = {"rms_norm": RMS_NORM, "flawed": FLAWED, "crashes": "import os\nos._exit(7)"}
    for op, kernel in ops.items():
        (package / op).mkdir()
        names = ("x", "w") if op == "rms_norm" else ()
        sweep = ((4096, 1024), (4096, 1025)) if op == "flawed" else ((512, 1024), (4096, 1024))
        (package / op / "spec.py").write_text(SPEC.format(op=op, names=names, sweep=sweep))
        (package / op / "kernel.py").write_text(kernel)
        (package / op / "wrapper.py").write_text(WRAPPER.format(op=op))
    return root


@pytest.fixture(scope="module")
def rms_norm(library: Path) -> StaticReport:
    return static_report(library, "rms_norm")


@pytest.fixture(scope="module")
def flawed(library: Path) -> StaticReport:
    return static_report(library, "flawed", targets=("90",))


def kernels(report: StaticReport, name: str, cols: int = 1024) -> list[KernelUsage]:
    return [k for k in report.kernels if k.kernel == name and k.cols == cols]


def test_forward_and_backward_are_compiled_for_every_target(rms_norm: StaticReport) -> None:
    assert rms_norm.failures == ()
    for name in ("_rms_norm_fwd", "_rms_norm_bwd", "_add_parts"):
        compiled = kernels(rms_norm, name)
        # The sum of many parts is taken in two steps, and so by two kernels.
        targets = [*dict.fromkeys(k.target for k in compiled)]
        assert targets == ["sm_80", "sm_90", "sm_100"]
        assert len(compiled) == len(targets) * (2 if name == "_add_parts" else 1)
        assert all(0 < k.registers <= 255 and k.occupancy > 0 for k in compiled)


def test_each_target_has_its_own_code(rms_norm: StaticReport) -> None:
    assert len({k.instructions for k in kernels(rms_norm, "_rms_norm_bwd")}) > 1


def test_aligned_rows_are_loaded_and_stored_wide(rms_norm: StaticReport) -> None:
    for kernel in kernels(rms_norm, "_rms_norm_fwd"):
        assert kernel.loads and kernel.wide_loads == kernel.loads
        assert kernel.wide_stores == kernel.stores - 1  # but for one number per row


def test_the_summary_has_the_worst_and_no_time(rms_norm: StaticReport) -> None:
    facts = rms_norm.summary()
    assert facts[0] == "no GPU: compiled for sm_80 sm_90 sm_100"
    assert f"{max(k.registers for k in rms_norm.kernels)} registers" in facts
    assert "0 spills" in facts
    assert facts[-1] == "no time was measured"


def test_spills_are_counted(flawed: StaticReport) -> None:
    (kernel,) = kernels(flawed, "_spills")
    assert kernel.registers == 255
    assert kernel.spill_bytes > 0
    assert f"{kernel.spill_bytes} bytes spilled" in flawed.summary()


def test_a_stride_that_is_no_multiple_of_16_narrows_loads(flawed: StaticReport) -> None:
    (aligned,) = kernels(flawed, "_rows")
    (misaligned,) = kernels(flawed, "_rows", cols=1025)
    assert aligned.wide_loads == aligned.loads
    assert misaligned.wide_loads == 0


def test_too_much_shared_memory_is_a_failure(flawed: StaticReport) -> None:
    (kernel,) = kernels(flawed, "_too_much_shared")
    limit = ARCHITECTURES["sm_90"].shared_per_block
    assert kernel.shared_bytes > limit
    assert kernel.occupancy == 0
    (failure,) = [f for f in flawed.failures if "_too_much_shared" in f]
    needs = f"takes {kernel.shared_bytes} bytes of shared memory; a block can have {limit}"
    assert failure == f"sm_90: _too_much_shared at 1024 columns {needs}"


def test_a_compile_error_is_a_failure_with_tritons_words(flawed: StaticReport) -> None:
    (failure,) = [f for f in flawed.failures if "_broken" in f]
    assert failure.startswith("sm_90: _broken does not compile")
    assert "arange's range must be a power of 2" in failure


def test_what_does_not_compile_of_a_variant_is_a_failure(tmp_path: Path) -> None:
    """An early return, say, is fine to the interpreter; here a range that is no power of two."""
    root = write_fixture(tmp_path, "gated_square")
    kernel = root / op_paths("gated_square")[0] / "kernel.py"
    text = kernel.read_text()
    kernel.write_text(text.replace("kept = tl.where(x > 0.0, 0.0, x)", "kept = tl.arange(0, 3)"))
    assert kernel.read_text() != text
    report = static_report(root, "gated_square", targets=("sm_80", "sm_90"))
    assert {k.kernel for k in report.kernels} == {"_gated_square_fwd", "_gated_square_bwd"}
    (first, *rest) = report.failures
    assert "variant negative part: _gated_square_fwd does not compile" in first
    assert all("variant negative part: " in failure for failure in rest)


def test_an_error_in_the_host_code_is_a_failure(flawed: StaticReport) -> None:
    expected = "sm_90: host code at 4096x1025 torch.bfloat16: KeyError: 'an odd width'"
    assert expected in flawed.failures
    assert f"{len(flawed.failures)} failed" in flawed.summary()


def test_rows_of_which_a_program_has_one_are_tried(flawed: StaticReport) -> None:
    """They are timed nowhere, and a kernel of theirs may not compile."""
    assert "sm_90: 2x8192: KeyError: 'lone rows'" in flawed.failures


def test_a_crash_is_an_error_that_says_so(library: Path) -> None:
    with pytest.raises(WorkbenchError, match="compiling crashes exited with 7"):
        static_report(library, "crashes", targets=("sm_90",))


def test_an_error_at_import_is_shown(library: Path) -> None:
    with pytest.raises(WorkbenchError, match=r"No module named 'workbench_kernels\.absent"):
        static_report(library, "absent", targets=("sm_90",))


def test_an_unknown_target_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown target 'sm_12'") as error:
        static_report(Path(), "relu2", targets=("sm_90", "sm_12"))
    assert "sm_100" in error.value.hint


@pytest.mark.parametrize(
    ("target", "registers", "shared", "num_warps", "resident_warps", "limit"),
    [
        ("sm_80", 32, 0, 4, 64, "warps"),  # everything fits
        ("sm_90", 128, 0, 8, 16, "registers"),  # 65536 / (128 · 32)
        ("sm_90", 129, 0, 4, 12, "registers"),  # warps get 256 at a time: 15 warps, 3 blocks
        ("sm_90", 32, 100 * 1024, 4, 8, "shared memory"),  # two blocks of 101 KiB in 228
        ("sm_90", 32, 300 * 1024, 4, 0, "shared memory"),  # more than a block can have
        ("sm_90", 16, 0, 1, 32, "blocks"),  # 32 at most
        ("sm_89", 32, 0, 32, 32, "warps"),  # one block of 32 in 48
    ],
)
def test_occupancy(
    target: str, registers: int, shared: int, num_warps: int, resident_warps: int, limit: str
) -> None:
    limits = architecture(target)
    occupancy = limits.occupancy(registers, shared, num_warps)
    assert occupancy == resident_warps / limits.warps
    assert limits.limit(registers, shared, num_warps) == limit
