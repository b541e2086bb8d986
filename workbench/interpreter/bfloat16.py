"""bfloat16 in the interpreter, which keeps it as uint16 bits and forgets so when it computes.

A GPU computes as if in float32 and rounds each result to nearest even; so does this.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

QUIET_NAN = np.uint16(0x7FC0)


def holds_bfloat16(value: Any) -> bool:
    """Whether `value` is a handle of bfloat16 numbers (and not of pointers to them)."""
    if not isinstance(value, TensorHandle) or value.data.dtype != np.uint16:
        return False
    return bool(value.dtype.scalar == tl.bfloat16)


def to_float32(bits: Any) -> Any:
    """The float32 numbers that bfloat16 bits (uint16) stand for, exactly."""
    return (bits.astype(np.uint32) << np.uint32(16)).view(np.float32)


def to_bits(numbers: Any) -> Any:
    """bfloat16 bits (uint16) of the numbers, rounded to nearest even; any NaN is the quiet one."""
    numbers = np.array(numbers, dtype=np.float32, order="C")
    bits = numbers.view(np.uint32)
    ties_to_even = (bits >> np.uint32(16)) & np.uint32(1)
    rounded = (bits + np.uint32(0x7FFF) + ties_to_even) >> np.uint32(16)
    return np.where(np.isnan(numbers), QUIET_NAN, rounded.astype(np.uint16))


def widen(value: Any) -> Any:
    """A bfloat16 handle as float32; anything else as it is."""
    return TensorHandle(to_float32(value.data), tl.float32) if holds_bfloat16(value) else value


def _narrow(handle: Any) -> Any:
    """A float32 handle as bfloat16; anything else (the result of a comparison) as it is."""
    if handle.data.dtype != np.float32:
        return handle
    return TensorHandle(to_bits(handle.data), tl.bfloat16)


def _through_float32(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def compute(self: Any, *operands: Any) -> Any:
        if not any(map(holds_bfloat16, operands)):
            return method(self, *operands)
        return _narrow(method(self, *map(widen, operands)))

    return compute


def _dot_through_float32(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def dot(self: Any, a: Any, b: Any, accumulator: Any, *options: Any) -> Any:
        return method(self, widen(a), widen(b), accumulator, *options)

    return dot


def _cast_with_rounding(method: Callable[..., Any]) -> Callable[..., Any]:
    # Stock: float32 -> bfloat16 truncates, and any other cast takes the bits for an integer.
    @wraps(method)
    def cast(self: Any, source: Any, target: Any) -> Any:
        source = widen(source)
        if target.scalar == tl.bfloat16:
            return TensorHandle(to_bits(source.data), tl.bfloat16)
        return method(self, source, target)

    return cast


def _constant(self: Any, value: float) -> Any:
    return TensorHandle(to_bits([value]), tl.bfloat16)


def install() -> None:
    """Give the builder bfloat16 arithmetic, comparisons, dot products, casts and constants."""
    builder = InterpreterBuilder
    for name in ("unary_op", "binary_op", "ternary_op", "create_fma"):
        setattr(builder, name, _through_float32(getattr(builder, name)))
    builder.create_dot = _dot_through_float32(builder.create_dot)
    builder.cast_impl = _cast_with_rounding(builder.cast_impl)
    builder.get_bf16 = _constant
