"""Device functions that Triton has only in lower precision, or with other NaN rules, than PyTorch.

All take and return float32. Nothing here needs libdevice, so every function also runs in the CPU
interpreter.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def square(x):
    """x²."""
    return x * x


@triton.jit
def maximum(x, y):
    """The larger of two values; NaN if either is, as torch.maximum and torch.clamp do.

    Also the combine of `tl.reduce` for a row's maximum: `tl.max` would drop NaNs.
    """
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def minimum(x, y):
    """The smaller of two values; NaN if either is."""
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def isnan(x):
    return x != x


@triton.jit
def isinf(x):
    return tl.abs(x) == float("inf")


@triton.jit
def divide(x, y):
    """x / y rounded to nearest; Triton's own division is an approximation good to two ulps."""
    return tl.div_rn(x, tl.cast(y, tl.float32))


@triton.jit
def expm1(x):
    """exp(x) − 1 to about an ulp, also near 0, where subtracting 1 from exp would cancel.

    With x = k·ln 2 + r, |r| ≤ ln 2 / 2, it is 2ᵏ·expm1(r) + 2ᵏ − 1; expm1(r) is Taylor's series
    to the seventh order, whose remainder is under 2⁻²⁵. ln 2 is split so that k·ln 2 loses nothing
    (Cody and Waite, 1980), and the sum is halved so that it overflows only where the result does.
    """
    bounded = tl.minimum(tl.maximum(x, -25.0), 89.0)
    k = tl.floor(bounded * 1.4426950408889634 + 0.5)
    r = (bounded - k * 0.693359375) + k * 2.12194440e-4
    series = 1 / 720 + r * (1 / 5040)
    series = 1 / 24 + r * (1 / 120 + r * series)
    series = r + r * r * (0.5 + r * (1 / 6 + r * series))
    half = tl.exp2(k - 1.0)
    return tl.where(x != x, x, 2.0 * (half * series + (half - 0.5)))


@triton.jit
def log2(x):
    """log2 of a positive normal number to 5e-8, or to an ulp where that is more; `tl.log2`, which
    also takes 0, NaN and the rest, is twice as many instructions.

    With x = 2ᵏ·(1 + f), 1 + f between √½ and √2, it is k + f·g(f); g is Chebyshev's polynomial of
    the eighth order for log2(1 + f) / f.
    """
    bits = x.to(tl.int32, bitcast=True)
    exponent = (bits - 0x3F3504F3) & -0x800000
    f = (bits - exponent).to(tl.float32, bitcast=True) - 1.0
    g = 0.21566985547542572 + f * (-0.20742103457450867 + f * 0.12614846229553223)
    g = 0.2879183292388916 + f * (-0.23892034590244293 + f * g)
    g = 0.48091059923171997 + f * (-0.36070483922958374 + f * g)
    g = 1.4426950216293335 + f * (-0.7213473320007324 + f * g)
    return exponent.to(tl.float32) * 1.1920928955078125e-07 + f * g


@triton.jit
def log1p(x):
    """log(1 + x) to a few ulps, also near 0.

    With u = 1 + x rounded, log(u) · x / (u − 1) cancels the rounding of u (Goldberg 1991, theorem
    4).
    """
    u = 1.0 + x
    difference = u - 1.0
    scale = tl.where(difference == 0.0, 1.0, x / tl.where(difference == 0.0, 1.0, difference))
    corrected = tl.where(difference == 0.0, x, tl.log(u) * scale)
    return tl.where(u == float("inf"), u, corrected)


@triton.jit
def tanh(x):
    """tanh(x) = e / (e + 2) with e = exp(2|x|) − 1, so that nothing cancels near 0; ±1 beyond |x| =
    10.
    """
    e = expm1(2.0 * tl.minimum(tl.abs(x), 10.0))
    t = e / (e + 2.0)
    return tl.where(x != x, x, tl.where(x < 0.0, -t, t))


@triton.jit
def sinh(x):
    """sinh(x) = (e + e / (e + 1)) / 2 with e = exp(|x|) − 1."""
    e = expm1(tl.abs(x))
    s = tl.where(e == float("inf"), e, 0.5 * (e + e / (e + 1.0)))
    return tl.where(x < 0.0, -s, tl.where(x != x, x, s))


@triton.jit
def cosh(x):
    """cosh(x) = (exp(x) + exp(−x)) / 2."""
    return 0.5 * (tl.exp(x) + tl.exp(-x))


@triton.jit
def tan(x):
    return tl.sin(x) / tl.cos(x)


@triton.jit
def log10(x):
    return tl.log(x) * 0.4342944819032518


@triton.jit
def sign(x):
    """−1, 0 or 1; 0 for NaN, as torch.sign."""
    return tl.where(x > 0.0, 1.0, tl.where(x < 0.0, -1.0, 0.0))


@triton.jit
def trunc(x):
    return tl.where(x < 0.0, tl.ceil(x), tl.floor(x))


@triton.jit
def round(x):
    """The nearest integer, ties to even, as torch.round."""
    down = tl.floor(x)
    fraction = x - down
    odd = (down * 0.5) != tl.floor(down * 0.5)
    up = (fraction > 0.5) | ((fraction == 0.5) & odd)
    return tl.where(up, down + 1.0, down)


@triton.jit
def pow(x, exponent):
    """x ** exponent for a real exponent; negative x only with an integral exponent, else NaN.

    As exp2(exponent · log2|x|): the relative error grows with the size of that product, to about
    1e-5 where the result nears float32's limits.
    """
    size = tl.exp2(exponent * tl.log2(tl.abs(x)))
    integral = exponent == tl.floor(exponent)
    odd = integral & ((exponent * 0.5) != tl.floor(exponent * 0.5))
    signed = tl.where((x < 0.0) & odd, -size, size)
    valid = tl.where((x < 0.0) & (integral == 0), float("nan"), signed)
    return tl.where(exponent == 0.0, 1.0, valid)
