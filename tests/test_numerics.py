"""The library's device functions against float64, in ulps, and their NaN rules."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics, testing

WIDTH = 4096
# The function, its float64 twin, the range it is tried on, and the ulps it may be off.
FUNCTIONS: dict[str, tuple[Callable[[Tensor], Tensor], float, float, float]] = {
    "tanh": (torch.tanh, -12.0, 12.0, 2),
    "expm1": (torch.expm1, -30.0, 88.7, 2),
    "log1p": (torch.log1p, -0.999, 50.0, 4),
    "log2": (torch.log2, 1e-6, 1e6, 3),
    "sinh": (torch.sinh, -8.0, 8.0, 4),
    "cosh": (torch.cosh, -8.0, 8.0, 4),
    "log10": (torch.log10, 1e-6, 1e6, 4),
    "round": (torch.round, -100.0, 100.0, 0),
    "trunc": (torch.trunc, -100.0, 100.0, 0),
    "sign": (torch.sign, -1.0, 1.0, 0),
}


@triton.jit
def _apply(Y, X, F: tl.constexpr, WIDTH: tl.constexpr):
    i = tl.arange(0, WIDTH)
    tl.store(Y + i, F(tl.load(X + i)))


@triton.jit
def _apply_two(Z, X, Y, F: tl.constexpr, WIDTH: tl.constexpr):
    i = tl.arange(0, WIDTH)
    tl.store(Z + i, F(tl.load(X + i), tl.load(Y + i)))


def apply(name: str, *arguments: Tensor) -> Tensor:
    out = torch.empty_like(arguments[0])
    kernel = _apply if len(arguments) == 1 else _apply_two
    kernel[(1,)](out, *arguments, getattr(numerics, name), WIDTH=arguments[0].numel())
    return out


def points(low: float, high: float) -> Tensor:
    """Even over the range, and in powers of two towards zero."""
    even = torch.linspace(low, high, WIDTH // 2, dtype=torch.float64)
    small = 2.0 ** -torch.linspace(0, 30, WIDTH // 2, dtype=torch.float64)
    if low < 0:
        small = small * (1 - 2 * (torch.arange(WIDTH // 2) % 2)) * min(1.0, -low)
    return torch.cat([even, small.clamp(min=low)]).float().to(testing.device())


@pytest.mark.parametrize("name", FUNCTIONS)
def test_error_in_ulps(name: str) -> None:
    truth, low, high, ulps = FUNCTIONS[name]
    x = points(low, high)
    want = truth(x.double())
    spacing = torch.maximum(want.abs(), torch.tensor(1e-38)) * 2.0**-23
    off = ((apply(name, x).double() - want).abs() / spacing).max().item()
    assert off <= ulps, f"{off:.1f} ulps"


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.5, -1.5, 3.0, -2.0])
def test_pow(exponent: float) -> None:
    x = points(-20.0, 20.0)
    power = torch.full_like(x, exponent)
    want = torch.pow(x.double(), power.double())
    torch.testing.assert_close(
        apply("pow", x, power).double(), want, rtol=1e-5, atol=0, equal_nan=True
    )


@pytest.mark.parametrize("name", ["tanh", "expm1", "log1p", "sinh", "cosh", "sign"])
def test_special_values(name: str) -> None:
    x = torch.tensor([math.nan, math.inf, -math.inf, 0.0] * 4, device=testing.device())
    want = getattr(torch, name)(x)
    torch.testing.assert_close(apply(name, x), want, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize("name", ["maximum", "minimum"])
def test_extremes_keep_nans(name: str) -> None:
    values = [math.nan, math.inf, -math.inf, 1.0]
    pairs = torch.tensor([(a, b) for a in values for b in values], device=testing.device())
    x, y = pairs[:, 0].contiguous(), pairs[:, 1].contiguous()
    want = getattr(torch, name)(x, y)
    torch.testing.assert_close(apply(name, x, y), want, rtol=0, atol=0, equal_nan=True)
