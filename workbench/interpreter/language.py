"""What the interpreter gets wrong or does slowly apart from bfloat16, reductions and libdevice."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Iterator
from functools import wraps
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
import triton.language as tl
from triton.runtime import interpreter
from triton.runtime.interpreter import GridExecutor, InterpreterBuilder, TensorHandle


class AmbiguousTruthError(TypeError):
    """A block of several elements was used as a condition."""


def install() -> None:
    """Mend each defect; one function per kind."""
    _patch_language_once()
    _mend_scalars()
    _mend_loops()
    _mend_arguments()
    _mend_comparisons()
    _mend_nan()
    _mend_arithmetic()
    _silence_numpy_in_kernels()


def _patch_language_once() -> None:
    # Stock: every launch and every call of a device function (tl.sum, tl.zeros) patches all of
    # triton.language anew: half the time of a small program. This process only interprets, so once
    # is enough.
    everything = SimpleNamespace(__globals__={"tl": tl, "core": tl.core})
    interpreter._patch_lang(everything)
    interpreter._patch_lang = lambda function: interpreter._LangPatchScope()


def _mend_scalars() -> None:
    def truth(self: Any) -> bool:
        # Stock: any block of several elements is true, so `a and b` is b.
        if self.handle.data.size == 1:
            return bool(self.handle.data.reshape(-1)[0])
        # Triton itself asks `if other` where it means `if other is not None`.
        if sys._getframe(1).f_globals["__name__"] == "triton.language.semantic":
            return True
        raise AmbiguousTruthError(
            "a block of several elements is no condition; combine masks with & and |, not and/or"
        )

    # Stock, Triton 3.6: int() of a one-element array, which NumPy 2.4 refuses, so `range(n)` fails.
    tl.tensor.__index__ = lambda self: int(self.handle.data.reshape(-1)[0])
    tl.tensor.__bool__ = truth


def _mend_arguments() -> None:
    stock = interpreter._implicit_cvt

    def convert(argument: Any) -> Any:
        # Stock: a float stays a Python float, with other promotion and no `.to`; a bool is refused.
        if isinstance(argument, bool):
            return tl.tensor(TensorHandle(np.array([argument]), tl.int1), tl.int1)
        if isinstance(argument, float):
            return tl.tensor(TensorHandle(np.array([argument], np.float32), tl.float32), tl.float32)
        return stock(argument)

    interpreter._implicit_cvt = convert


def _mend_loops() -> None:
    # Stock: a loop counts in Python integers, which have no `.to` and are never too large.
    def visit_for(self: Any, node: ast.For) -> ast.AST:
        match node.iter:
            case ast.Call(ast.Name("range") as function):
                function.id = _counter.__name__
        return self.generic_visit(node)  # type: ignore[no-any-return]

    interpreter.ASTTransformer.visit_For = visit_for
    # Kernels see the names of this module beside their own.
    setattr(interpreter, _counter.__name__, _counter)
    tl.range = _counter


def _counter(first: Any, end: Any = None, step: Any = None, **_: Any) -> Iterator[Any]:
    """What `range` and `tl.range` count in a kernel: int32, or int64 where a bound is."""
    start, stop = (0, first) if end is None else (first, end)
    numbers = range(start, stop, 1 if step is None else step)
    wide = any(getattr(bound, "dtype", None) == tl.int64 for bound in (start, stop, step))
    wide |= any(not -(2**31) <= bound < 2**31 for bound in (numbers.start, numbers.stop))
    dtype, kind = (tl.int64, np.int64) if wide else (tl.int32, np.int32)
    for number in numbers:
        yield tl.tensor(TensorHandle(np.array([number], kind), dtype), dtype)


def _mend_comparisons() -> None:
    stock = InterpreterBuilder.binary_op

    @wraps(stock)
    def binary_op(self: Any, lhs: Any, rhs: Any, operation: Callable[..., Any]) -> Any:
        # Stock: the result of x < y claims the type of x, so a later cast reads booleans as floats.
        result = stock(self, lhs, rhs, operation)
        return TensorHandle(result.data, tl.int1) if result.data.dtype == np.bool_ else result

    InterpreterBuilder.binary_op = binary_op


def _mend_nan() -> None:
    builder = InterpreterBuilder

    def clamp(self: Any, x: Any, low: Any, high: Any, propagate_nan: Any) -> Any:
        if propagate_nan == tl.PropagateNan.ALL:
            return self.binary_op(self.binary_op(x, low, np.maximum), high, np.minimum)
        return self.binary_op(self.binary_op(x, low, np.fmax), high, np.fmin)

    # Stock: NaN wins always. On a GPU the number wins, unless the kernel asks for PropagateNan.ALL.
    builder.create_minnumf = lambda self, lhs, rhs: self.binary_op(lhs, rhs, np.fmin)
    builder.create_maxnumf = lambda self, lhs, rhs: self.binary_op(lhs, rhs, np.fmax)
    builder.create_clampf = clamp


def _mend_arithmetic() -> None:
    def fma(self: Any, x: Any, y: Any, z: Any) -> Any:
        # Stock: rounds twice. float64 holds the product of two float32 exactly.
        product = x.data.astype(np.float64) * y.data.astype(np.float64)
        return TensorHandle((product + z.data).astype(z.data.dtype), z.dtype.scalar)

    def erf(self: Any, x: Any) -> Any:
        # Stock: a Python call per element.
        return TensorHandle(torch.erf(torch.tensor(x.data)).numpy(), x.dtype.scalar)

    InterpreterBuilder.create_fma = fma
    InterpreterBuilder.create_erf = erf


def _silence_numpy_in_kernels() -> None:
    stock = GridExecutor.__call__

    @wraps(stock)
    def launch(self: Any, *args: Any, **kwargs: Any) -> Any:
        # inf - inf or exp(1000) is silent on a GPU.
        with np.errstate(all="ignore"):
            return stock(self, *args, **kwargs)

    GridExecutor.__call__ = launch
