"""What the interpreter does again and again for every step of every program, remembered.

Most of a small block's time goes into describing it: its type, its shape, NumPy's name for both;
and into asserting that integers don't overflow, which nobody hears of.
"""

from __future__ import annotations

from dataclasses import replace
from functools import wraps
from typing import Any

import numpy as np
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter
from triton.runtime.interpreter import TensorHandle


def install() -> None:
    """Remember NumPy's types, what follows from a shape, and what follows from a block's type."""
    _remember_numpy_types()
    _remember_shapes()
    _take_operands_as_they_are()
    _broadcast_at_once()
    _remember_block_types()
    _look_for_no_overflow()


def _remember_numpy_types() -> None:
    stock, known = interpreter._get_np_dtype, {}

    def numpy_type(of: Any) -> Any:
        name = of.scalar.name
        if name not in known:
            known[name] = stock(of)
        return known[name]

    interpreter._get_np_dtype = numpy_type


def _remember_shapes() -> None:
    stock: Any = tl.tensor.__init__
    known: dict[tuple[int, ...], tuple[Any, Any]] = {}

    def initialise(self: Any, handle: Any, type: Any) -> None:
        shape = (*type.shape,) if type.is_block() else ()
        if shape not in known:
            stock(self, handle, type)
            known[shape] = self.numel, self.shape
        else:
            self.handle, self.type, self.dtype = handle, type, type.scalar
            self.numel, self.shape = known[shape]

    tl.tensor.__init__ = initialise


def _take_operands_as_they_are() -> None:
    # Stock: two numbers of one type and shape go through promotion, two casts and a broadcast.
    stock: Any = TritonSemantic.binary_op_type_checking_impl

    @wraps(stock)
    def check(self: Any, lhs: Any, rhs: Any, *pointers: bool, **rules: bool) -> Any:
        # More than whether each may be a pointer is said of divisions: 16 bits are widened there.
        if len(pointers) <= 2 and not rules and _are_alike(lhs, rhs):
            return lhs, rhs
        return stock(self, lhs, rhs, *pointers, **rules)

    TritonSemantic.binary_op_type_checking_impl = check


def _are_alike(lhs: Any, rhs: Any) -> bool:
    """Whether both are numbers of one type, in one shape."""
    if not type(lhs) is type(rhs) is tl.tensor:
        return False
    return lhs.dtype is rhs.dtype and lhs.shape is rhs.shape and not lhs.dtype.is_ptr()


def _broadcast_at_once() -> None:
    # Stock: two shapes are compared size by size, and a scalar's block has its type made twice.
    stock: Any = TritonSemantic.broadcast_impl_value

    def broadcast(self: Any, lhs: Any, rhs: Any) -> Any:
        if lhs.shape is rhs.shape:  # remembered, so the same where the sizes are
            return lhs, rhs
        match lhs.type.is_block(), rhs.type.is_block():
            case True, False:
                return lhs, _spread(rhs, lhs.type)
            case False, True:
                return _spread(lhs, rhs.type), rhs
        return stock(self, lhs, rhs)

    TritonSemantic.broadcast_impl_value = broadcast


def _spread(scalar: Any, over: Any) -> Any:
    """The scalar in every place of a block."""
    of = scalar.handle.dtype
    data = np.full(over.shape, scalar.handle.data, interpreter._get_np_dtype(of))
    return tl.tensor(TensorHandle(data, of.scalar), over.with_element_ty(scalar.type.scalar))


def _remember_block_types() -> None:
    stock: Any = tl.block_type.__init__
    known: dict[tuple[Any, ...], dict[str, Any]] = {}

    def initialise(self: Any, element_ty: Any, shape: Any) -> None:
        sizes = (s.value if isinstance(s, tl.constexpr) else s for s in shape)
        key = (element_ty.name, *sizes)
        if key not in known:
            stock(self, element_ty, shape)
            known[key] = {n: value for n, value in vars(self).items() if n != "element_ty"}
        else:
            vars(self).update(known[key])
            self.element_ty = element_ty

    tl.block_type.__init__ = initialise


def _look_for_no_overflow() -> None:
    # Stock: every sum of integers is looked at, and only a debug build says what was found.
    builder = interpreter.interpreter_builder
    builder.options = replace(builder.options, sanitize_overflow=builder.options.debug)
