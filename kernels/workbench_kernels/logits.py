"""Device functions for softmax over a row of logits that is read in steps.

Each lane has a maximum and sums of its own, so that no step waits for another thread; at the end of
a row they are made one. All take and return float32.
"""

from __future__ import annotations

import triton
import triton.language as tl

from workbench_kernels import numerics

# Below every finite number; not -inf, of which a difference would be NaN.
LOWEST = tl.constexpr(-3.4028234663852886e38)
NO_COLUMN = tl.constexpr(2**31 - 1)
WIDE_LOAD = 8  # elements of 16 bits that a thread loads at once


@triton.jit
def exp(x):
    """exp(x), 0 where that is less than float32's normal numbers: four instructions, tl.exp is
    seven.
    """
    return tl.exp2(x * 1.4426950408889634)


@triton.jit
def squash(x, inner, outer, CAPPED: tl.constexpr, SCALED: tl.constexpr):
    """What the softmax is of: the logits as they are, times `inner`, or outer · tanh(inner · x)."""
    if CAPPED:
        return outer * numerics.tanh(inner * x)
    if SCALED:
        return inner * x
    return x


@triton.jit
def unsquash(du, x, inner, outer, CAPPED: tl.constexpr, SCALED: tl.constexpr):
    """The gradient of the logits x, of that of what `squash` made of them."""
    if CAPPED:
        t = numerics.tanh(inner * x)
        return du * (inner * outer) * (1.0 - t * t)
    if SCALED:
        return du * inner
    return du


@triton.jit
def first_of_largest(u, cols, peak, place):
    """Where the largest of each lane is so far; NaN is largest. `peak` is before this step."""
    ranked = tl.where(u != u, float("inf"), u)
    highest = tl.max(ranked, axis=0)
    ties = tl.where(ranked == highest[None, :], cols, NO_COLUMN)
    return tl.where(highest > peak, tl.min(ties, axis=0), place), highest


@triton.jit
def row_sum(peak, total):
    """The row's maximum, and the sum of exp(u − maximum), of those of the lanes."""
    row_max = tl.max(peak, axis=0)
    return row_max, tl.sum(total * exp(peak - row_max), axis=0)


def depth(block: int, num_warps: int) -> int:
    """How many wide loads of a row a thread adds up before it adds them to sums of its own: all
    that it makes in a step of `block` elements.
    """
    return max(1, block // (32 * num_warps * WIDE_LOAD))
