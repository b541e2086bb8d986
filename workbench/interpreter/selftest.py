# mypy: disable-error-code="attr-defined, no-untyped-def, untyped-decorator"
"""Small kernels whose results are known exactly: they check what `enable()` promises."""

from __future__ import annotations

from collections.abc import Callable

import torch
import triton
import triton.language as tl
from torch import Tensor
from triton.runtime.errors import InterpreterError

N = 16


@triton.jit
def _arithmetic(Y, A, B, N: tl.constexpr):
    i = tl.arange(0, N)
    a = tl.load(A + i)
    b = tl.load(B + i)
    tl.store(Y + i, tl.where(a < b, a * b + a, a - tl.full((N,), 1.2, tl.bfloat16)))


@triton.jit
def _round(Y, X, N: tl.constexpr):
    i = tl.arange(0, N)
    tl.store(Y + i, tl.load(X + i).to(Y.dtype.element_ty))


@triton.jit
def _scalars(Y, X, n, scale, negate, Absent, N: tl.constexpr):
    i = tl.arange(0, N)
    total = tl.zeros((N,), tl.float32)
    for _ in range(n):
        total += tl.load(X + i) * scale.to(tl.float32)
    if negate:
        total = -total
    if Absent is not None:
        tl.store(Absent + i, total)
    tl.store(Y + i, total)


@triton.jit
def _loops(Y, n, N: tl.constexpr):
    total = tl.zeros((N,), tl.float32)
    for i in range(n):
        for j in tl.range(i, n, 2):
            total += i.to(tl.float32) + tl.arange(0, N) * j.to(tl.int64)
    tl.store(Y + tl.arange(0, N), total)


@triton.jit
def _nan(Number, Nan, X, N: tl.constexpr):
    x = tl.load(X + tl.arange(0, N))
    tl.store(Number, tl.max(x, 0))
    tl.store(Number + 1, tl.min(x, 0))
    tl.store(Number + 2 + tl.arange(0, N), tl.minimum(tl.maximum(x, -1.0), 1.0))
    every = tl.PropagateNan.ALL
    tl.store(Nan + tl.arange(0, N), tl.minimum(tl.maximum(x, -1.0, every), 1.0, every))


@triton.jit
def _larger(a, b):
    return tl.where(a > b, a, b)


@triton.jit
def _reductions(Sum, Largest, Prefix, X, N: tl.constexpr):
    row = tl.arange(0, N)
    x = tl.load(X + row[:, None] * N + row[None, :])
    tl.store(Sum + row[:, None], tl.sum(x, 1, keep_dims=True))
    tl.store(Largest + row, tl.reduce(x, 0, _larger))
    tl.store(Prefix + row[:, None] * N + row[None, :], tl.associative_scan(x, 1, _larger))


@triton.jit
def _dot(Y, A, B, N: tl.constexpr):
    row = tl.arange(0, N)
    tile = row[:, None] * N + row[None, :]
    tl.store(Y + tile, tl.dot(tl.load(A + tile), tl.load(B + tile)))


def _same(got: Tensor, expected: Tensor) -> bool:
    return torch.equal(got.nan_to_num(nan=1e9), expected.nan_to_num(nan=1e9))


def _bfloat16_arithmetic() -> bool:
    a, b = torch.linspace(-3, 3, N).bfloat16(), torch.linspace(2, -1, N).bfloat16()
    y = torch.empty_like(a)
    _arithmetic[(1,)](y, a, b, N=N)
    return _same(y, torch.where(a < b, a * b + a, a - torch.tensor(1.2).bfloat16()))


def _rounding() -> bool:
    ties = 1 + torch.arange(N) * 2.0**-8
    x = torch.where(torch.arange(N) % 3 == 2, ties * (1 + 2.0**-20), ties)
    y = torch.empty(N, dtype=torch.bfloat16)
    _round[(1,)](y, x, N=N)
    return _same(y, x.bfloat16())


def _scalar_arguments() -> bool:
    x = torch.linspace(-1, 1, N)
    y = torch.empty_like(x)
    _scalars[(1,)](y, x, 2, 0.1, True, None, N=N)
    return _same(y, -(x * 0.1 + x * 0.1))


def _loop_variables() -> bool:
    y = torch.empty(N)
    _loops[(1,)](y, 3, N=N)
    pairs = [(i, j) for i in range(3) for j in range(i, 3, 2)]
    return _same(y, torch.stack([i + torch.arange(N) * j for i, j in pairs]).sum(0).float())


def _nan_rules() -> bool:
    x = torch.linspace(-3, 3, N)
    x[5] = torch.nan
    number, nan = torch.empty(N + 2), torch.empty(N)
    _nan[(1,)](number, nan, x, N=N)
    clamped = x.clamp(-1, 1)
    without = torch.where(clamped.isnan(), -1.0, clamped)
    return _same(number, torch.cat([torch.tensor([3.0, -3.0]), without])) and _same(nan, clamped)


def _bfloat16_reductions() -> bool:
    x = (torch.arange(N * N).reshape(N, N) * 7 % 13 - 6).bfloat16()
    total, largest, prefix = torch.empty_like(x[0]), torch.empty_like(x[0]), torch.empty_like(x)
    _reductions[(1,)](total, largest, prefix, x, N=N)
    expected = x.sum(1), x.amax(0), x.cummax(1).values
    return all(map(_same, (total, largest, prefix), expected))


def _bfloat16_dot() -> bool:
    a = (torch.arange(N * N).reshape(N, N) % 5 - 2).bfloat16()
    b = (torch.arange(N * N).reshape(N, N) % 7 - 3).bfloat16()
    y = torch.empty(N, N)
    _dot[(1,)](y, a, b, N=N)
    return _same(y, a.float() @ b.float())


CHECKS: dict[str, Callable[[], bool]] = {
    "bfloat16 arithmetic": _bfloat16_arithmetic,
    "rounding of float32 to bfloat16": _rounding,
    "Python scalars and None as arguments": _scalar_arguments,
    "variables of loops": _loop_variables,
    "NaN in minima and maxima": _nan_rules,
    "bfloat16 reductions and scans": _bfloat16_reductions,
    "bfloat16 tl.dot": _bfloat16_dot,
}


def failures() -> list[str]:
    """The names of the checks whose result is not the one known, or that stopped with an error."""
    wrong = []
    for name, check in CHECKS.items():
        try:
            if not check():
                wrong.append(name)
        except (InterpreterError, AttributeError, TypeError, ValueError) as error:
            wrong.append(f"{name} ({error})")
    return wrong
