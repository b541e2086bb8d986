"""The interpreter computes what a GPU computes: compared with PyTorch on arbitrary bit patterns."""

from __future__ import annotations

import os
import subprocess
import sys

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor
from triton.language.extra import libdevice

from workbench.interpreter import enable

pytestmark = pytest.mark.skipif(
    os.environ.get("TRITON_INTERPRET") != "1", reason="kernels run on the GPU here"
)

N = 64
ENABLE = "from workbench.interpreter import enable; enable()"
FLOATS = {torch.bfloat16: np.uint16, torch.float16: np.uint16, torch.float32: np.uint32}
SPECIAL = (0.0, -0.0, 1.0, -1.0, torch.nan, torch.inf, -torch.inf, 1e-40, 3e38, 65504.0)
a_float = pytest.mark.parametrize("dtype", FLOATS, ids=str)
examples = settings(max_examples=25, deadline=None, derandomize=True)


@pytest.fixture(scope="module", autouse=True)
def interpreter() -> None:
    enable()


def numbers(dtype: torch.dtype, bits: np.ndarray) -> Tensor:
    """Every bit pattern is a number or NaN; a few special ones are always among them."""
    values = torch.from_numpy(bits.astype(FLOATS[dtype])).view(dtype)
    values[: len(SPECIAL)] = torch.tensor(SPECIAL).to(dtype)
    return values


def random_bits(count: int = N) -> st.SearchStrategy[np.ndarray]:
    return arrays(np.uint32, count, elements=st.integers(0, 2**32 - 1), fill=st.nothing())


def assert_same(got: Tensor, expected: Tensor) -> None:
    """Equal bit for bit, except that any NaN equals any NaN and -0 equals 0."""
    assert got.dtype == expected.dtype and got.shape == expected.shape
    different = (got != expected) & ~(got.isnan() & expected.isnan())
    assert not different.any(), f"{got[different]} instead of {expected[different]}"


@triton.jit
def _arithmetic(Sum, Difference, Product, Less, A, B, N: tl.constexpr):
    i = tl.arange(0, N)
    a, b = tl.load(A + i), tl.load(B + i)
    tl.store(Sum + i, a + b)
    tl.store(Difference + i, a - b)
    tl.store(Product + i, a * b)
    tl.store(Less + i, tl.where(a < b, a, b))


@a_float
@examples
@given(bits=random_bits(2 * N))
def test_arithmetic_rounds_each_step_to_the_dtype(dtype: torch.dtype, bits: np.ndarray) -> None:
    a, b = numbers(dtype, bits[:N]), numbers(dtype, bits[N:]).flip(0)
    results = [torch.empty_like(a) for _ in range(4)]
    _arithmetic[(1,)](*results, a, b, N=N)
    for got, expected in zip(results, (a + b, a - b, a * b, torch.where(a < b, a, b)), strict=True):
        assert_same(got, expected)


@triton.jit
def _cast(Y, X, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(Y + i, tl.load(X + i).to(Y.dtype.element_ty))


@pytest.mark.parametrize("target", FLOATS, ids=str)
@a_float
@examples
@given(bits=random_bits())
def test_casts_round_to_nearest_even(
    dtype: torch.dtype, target: torch.dtype, bits: np.ndarray
) -> None:
    x, y = numbers(dtype, bits), torch.empty(N, dtype=target)
    _cast[(1,)](y, x, N=N)
    assert_same(y, x.to(target))


def test_a_tie_rounds_to_even() -> None:
    y = torch.empty(N, dtype=torch.bfloat16)
    _cast[(1,)](y, 1 + torch.arange(N) * 2.0**-8, N=N)
    assert y[:4].tolist() == [1.0, 1.0, 1 + 2.0**-7, 1 + 2 * 2.0**-7]


@triton.jit
def _masked(Y, X, n, stride, N: tl.constexpr):
    i = tl.arange(0, N).to(tl.int64)
    y = tl.load(X + i * stride, mask=i < n, other=float("-inf"))
    positive = (y > 0).to(tl.bfloat16)
    tl.store(Y + i, y * positive, mask=i < n)


@pytest.mark.parametrize("n", [0, 1, 13, N])
@a_float
def test_masked_loads_fill_and_masked_stores_leave(dtype: torch.dtype, n: int) -> None:
    x = torch.linspace(-2, 2, 3 * N).to(dtype)
    y = torch.full((N,), 7.0, dtype=dtype)
    _masked[(1,)](y, x, n, 3, N=N)
    assert_same(y[:n], (x * (x > 0))[: 3 * n : 3])
    assert (y[n:] == 7).all()


@triton.jit
def _limits(Y, X, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(X + i)
    every = tl.PropagateNan.ALL
    tl.store(Y + i, tl.maximum(x, 0.5))
    tl.store(Y + N + i, tl.minimum(x, 0.5))
    tl.store(Y + 2 * N + i, tl.maximum(x, 0.5, propagate_nan=every))
    tl.store(Y + 3 * N + i, tl.minimum(x, 0.5, propagate_nan=every))
    tl.store(Y + 4 * N + i, tl.clamp(x, -0.5, 0.5))
    tl.store(Y + 5 * N + i, tl.clamp(x, -0.5, 0.5, propagate_nan=every))


@a_float
@examples
@given(bits=random_bits())
def test_nan_loses_unless_it_is_asked_to_win(dtype: torch.dtype, bits: np.ndarray) -> None:
    x, y = numbers(dtype, bits), torch.empty(6, N, dtype=dtype)
    _limits[(1,)](y, x, N=N)
    half = torch.tensor(0.5, dtype=dtype)
    clamped = x.clamp(-0.5, 0.5)
    expected = (
        torch.where(x.isnan(), half, torch.maximum(x, half)),
        torch.where(x.isnan(), half, torch.minimum(x, half)),
        torch.maximum(x, half),
        torch.minimum(x, half),
        torch.where(x.isnan(), -half, clamped),
        clamped,
    )
    for got, wanted in zip(y, expected, strict=True):
        assert_same(got, wanted)


@triton.jit
def _reduce_rows(Sum, Largest, Smallest, Where, X, R: tl.constexpr, C: tl.constexpr):
    r, c = tl.arange(0, R), tl.arange(0, C)
    x = tl.load(X + r[:, None] * C + c[None, :])
    tl.store(Sum + r[:, None], tl.sum(x, axis=1, keep_dims=True))
    tl.store(Largest + c, tl.max(x, axis=0).to(X.dtype.element_ty))
    tl.store(Smallest + r, tl.min(x, axis=-1).to(X.dtype.element_ty))
    tl.store(Where + r, tl.argmax(x, axis=1))


@pytest.mark.parametrize("shape", [(4, 64), (1, 16), (16, 1), (2, 2)], ids=str)
@a_float
def test_reductions_over_either_axis(dtype: torch.dtype, shape: tuple[int, int]) -> None:
    rows, cols = shape
    # Small integers: their sums are exact in every order.
    x = (torch.arange(rows * cols) * 37 % 11 - 5).reshape(shape).to(dtype)
    total, largest, smallest = (torch.empty(n, dtype=dtype) for n in (rows, cols, rows))
    where = torch.empty(rows, dtype=torch.int32)
    _reduce_rows[(1,)](total, largest, smallest, where, x, R=rows, C=cols)
    assert_same(total, x.sum(1))
    assert_same(largest, x.amax(0))
    assert_same(smallest, x.amin(1))
    assert_same(where, x.argmax(1).int())


def test_float32_sums_are_as_exact_as_a_gpus() -> None:
    x = torch.rand(4, 4096, generator=torch.Generator().manual_seed(0))
    total, columns, rows = torch.empty(4), torch.empty(4096), torch.empty(4)
    _reduce_rows[(1,)](total, columns, rows, torch.empty(4).int(), x, R=4, C=4096)
    torch.testing.assert_close(total.double(), x.double().sum(1), rtol=3e-7, atol=0)


@triton.jit
def _larger_or_nan(a, b):
    return tl.maximum(a, b, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def _as_float32(a, b):
    return a.to(tl.float32) + b.to(tl.float32)


@triton.jit
def _larger_by_branch(a, b):
    if a > b:
        return a
    else:  # noqa: RET505 - Triton wants it
        return b


@triton.jit
def _first_of_larger(a, at_a, b, at_b):
    left = (a > b) | ((a == b) & (at_a < at_b))
    return tl.where(left, a, b), tl.where(left, at_a, at_b)


@triton.jit
def _reduce_by(Y, X, R: tl.constexpr, C: tl.constexpr, combine: tl.constexpr):
    r, c = tl.arange(0, R), tl.arange(0, C)
    x = tl.load(X + r[:, None] * C + c[None, :])
    tl.store(Y + r[:, None], tl.reduce(x, 1, combine, keep_dims=True))


def test_a_combine_function_is_called_on_blocks() -> None:
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(1))
    x[2, 5] = torch.nan
    y = torch.empty(4)
    _reduce_by[(1,)](y, x, R=4, C=32, combine=_larger_or_nan)
    assert_same(y, x.amax(1))


@a_float
def test_a_combine_function_that_branches_is_called_on_scalars(dtype: torch.dtype) -> None:
    x = torch.randn(4, 32, generator=torch.Generator().manual_seed(1)).to(dtype)
    y = torch.empty(4, dtype=dtype)
    _reduce_by[(1,)](y, x, R=4, C=32, combine=_larger_by_branch)
    assert_same(y, x.amax(1))


def test_a_combine_function_of_another_type_is_refused_as_by_the_compiler() -> None:
    x = torch.zeros(4, 32, dtype=torch.bfloat16)
    with pytest.raises(triton.runtime.errors.InterpreterError, match="returns fp32, not bf16"):
        _reduce_by[(1,)](torch.empty(4).bfloat16(), x, R=4, C=32, combine=_as_float32)


@triton.jit
def _reduce_pair(Value, Index, X, C: tl.constexpr):
    c = tl.arange(0, C)
    value, index = tl.reduce((tl.load(X + c), c), 0, _first_of_larger)
    tl.store(Value, value)
    tl.store(Index, index)


def test_a_combine_function_of_pairs_reduces() -> None:
    x = torch.tensor([1.0, 5.0, 2.0, 5.0])
    value, index = torch.empty(1), torch.empty(1, dtype=torch.int32)
    _reduce_pair[(1,)](value, index, x, C=4)
    assert (value.item(), index.item()) == (5.0, 1)


@triton.jit
def _add(a, b):
    return a + b


@triton.jit
def _scan(Y, X, R: tl.constexpr, C: tl.constexpr, reverse: tl.constexpr):
    tile = tl.arange(0, R)[:, None] * C + tl.arange(0, C)[None, :]
    x = tl.load(X + tile)
    tl.store(Y + tile, tl.associative_scan(x, 1, _add, reverse=reverse))
    tl.store(Y + R * C + tile, tl.cumsum(x, 0, reverse=reverse))


@pytest.mark.parametrize("reverse", [False, True])
@a_float
def test_scans_in_both_directions(dtype: torch.dtype, reverse: bool) -> None:
    x = (torch.arange(4 * 16).reshape(4, 16) % 5 - 2).to(dtype)
    y = torch.empty(2, 4, 16, dtype=dtype)
    _scan[(1,)](y, x, R=4, C=16, reverse=reverse)
    for got, axis in zip(y, (1, 0), strict=True):
        assert_same(got, x.flip(axis).cumsum(axis).flip(axis) if reverse else x.cumsum(axis))


@triton.jit
def _dot(Y, A, B, N: tl.constexpr):
    row = tl.arange(0, N)
    tile = row[:, None] * N + row[None, :]
    total = tl.zeros((N, N), tl.float32)
    for _ in range(0, tl.cdiv(2 * N, N)):
        total = tl.dot(tl.load(A + tile), tl.load(B + tile), total)
    tl.store(Y + tile, total)


@a_float
def test_dot_accumulates_in_float32(dtype: torch.dtype) -> None:
    a = (torch.arange(256).reshape(16, 16) % 5 - 2).to(dtype)
    b = (torch.arange(256).reshape(16, 16) % 7 - 3).to(dtype)
    y = torch.empty(16, 16)
    _dot[(1,)](y, a, b, N=16)
    assert_same(y, 2 * (a.float() @ b.float()))


@triton.jit
def _arguments(Y, X, Keep, Absent, n, eps, negate, N: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    i = tl.arange(0, N)
    keep = tl.load(Keep + i)
    total = tl.zeros((N,), tl.float32)
    for k in range(n):
        total += tl.load(X + row * N + i) * eps + k
    if negate:
        total = -total
    if Absent is not None:
        tl.store(Absent + i, total)
    tl.store(Y + row * N + i, tl.where(keep, total, eps.to(tl.float32)))


@a_float
def test_arguments_are_what_a_gpu_kernel_gets(dtype: torch.dtype) -> None:
    x = torch.linspace(-1, 1, 3 * N).reshape(3, N).to(dtype)
    y, keep = torch.empty(3, N), torch.arange(N) % 3 > 0
    _arguments[(3,)](y, x, keep, None, 2, 0.1, True, N=N)
    eps = torch.tensor(0.1)  # a float argument is a float32 scalar, so bfloat16 is promoted
    expected = -(x.float() * eps + (x.float() * eps + 1))
    assert_same(y, torch.where(keep, expected, eps))


@triton.jit
def _library(Y, X, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(X + i)
    tl.store(Y + i, libdevice.tanh(x))
    tl.store(Y + N + i, tl.erf(x))
    tl.store(Y + 2 * N + i, libdevice.pow(libdevice.abs(x), 1.5))
    tl.store(Y + 3 * N + i, tl.where(libdevice.isnan(x), 1.0, libdevice.round(x)))


def test_libdevice_computes() -> None:
    x = torch.linspace(-4, 4, N)
    x[3] = torch.nan
    y = torch.empty(4, N)
    _library[(1,)](y, x, N=N)
    half_away = torch.trunc(x + torch.copysign(torch.tensor(0.5), x))
    expected = (x.tanh(), x.erf(), x.abs().pow(1.5), torch.where(x.isnan(), 1.0, half_away))
    torch.testing.assert_close(y, torch.stack(expected), equal_nan=True)


def test_libdevice_refuses_bfloat16_as_a_gpu_does() -> None:
    with pytest.raises(triton.runtime.errors.InterpreterError, match="KeyError"):
        _library[(1,)](torch.empty(4, N), torch.zeros(N, dtype=torch.bfloat16), N=N)


@triton.jit
def _ambiguous(Y, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(Y + i, i, mask=(i > 2) and (i < 5))


def test_a_block_is_no_condition() -> None:
    with pytest.raises(triton.runtime.errors.InterpreterError, match="is no condition"):
        _ambiguous[(1,)](torch.empty(N), N=N)


@triton.jit
def _overflow(Y, X, N: tl.constexpr):
    i = tl.arange(0, N)
    x = tl.load(X + i)
    tl.store(Y + i, tl.exp(x * 1e30) - tl.log(x - x))


@pytest.mark.filterwarnings("error")
def test_numpy_is_silent_inside_kernels_only() -> None:
    _overflow[(1,)](torch.empty(N), torch.full((N,), 1e30), N=N)
    with pytest.warns(RuntimeWarning, match="overflow"):
        np.exp(np.float32(1000.0))


def run_python(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `code` in a process that has TRITON_INTERPRET only if it is given."""
    variables |= {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    command = [sys.executable, "-c", code]
    return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=99)


def test_enable_needs_the_variable() -> None:
    process = run_python(ENABLE)
    assert "RuntimeError: TRITON_INTERPRET=1 is not set" in process.stderr


def test_enable_notices_a_triton_imported_too_early() -> None:
    late = "import os, triton; os.environ['TRITON_INTERPRET'] = '1'\n"
    process = run_python(late + ENABLE)
    assert "RuntimeError: Triton was imported before TRITON_INTERPRET=1 was set" in process.stderr


def test_the_self_test_finds_the_stock_interpreter_wrong() -> None:
    code = "from workbench.interpreter import self_test; self_test()"
    process = run_python(code, TRITON_INTERPRET="1")
    for name in ("bfloat16 arithmetic", "rounding", "Python scalars", "bfloat16 tl.dot"):
        assert name in process.stderr.splitlines()[-1]


def test_an_untried_triton_is_announced() -> None:
    code = "import triton; triton.__version__ = '4.2.0'\n"
    process = run_python(code + ENABLE, TRITON_INTERPRET="1")
    assert process.returncode == 0
    assert "Triton 4.2.0 has not been tried in the interpreter" in process.stderr
