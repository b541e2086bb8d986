"""Reductions and scans in the interpreter: pairwise as on a GPU, and fast for any combine function.

Stock, a combine function Triton does not know is called once per element, and bfloat16 is summed as
integers. Here it is called on half-arrays, log2(n) times. Neighbours are combined, in order, so it
need only be associative; every step rounds to the dtype, as on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton.runtime.errors import InterpreterError
from triton.runtime.interpreter import ReduceOps, ScanOps

from workbench.interpreter.bfloat16 import to_bits, to_float32
from workbench.interpreter.language import AmbiguousTruthError

Arrays = tuple[Any, ...]
Combine = Callable[[Arrays, Arrays], Arrays]

_STOCK_SCAN = ScanOps.apply_impl
# A combine function that branches fails on blocks, and works one scalar at a time. InterpreterError
# wraps whatever went wrong in a function called by it; if it was something else, it comes again.
_NEEDS_SCALARS = (AmbiguousTruthError, InterpreterError)


def _fold(arrays: Arrays, combine: Combine) -> Arrays:
    """Combine along the first axis, whose length is a power of two (every block's is)."""
    while len(arrays[0]) > 1:
        arrays = combine(tuple(a[0::2] for a in arrays), tuple(a[1::2] for a in arrays))
    return tuple(a[0] for a in arrays)


def _scan(arrays: Arrays, combine: Combine) -> Arrays:
    """All prefixes along the first axis: each step doubles how many elements each has combined."""
    step = 1
    while step < len(arrays[0]):
        # At full length, as a block's sides are powers of two; what wrapped around is dropped.
        combined = combine(tuple(np.roll(a, step, 0) for a in arrays), arrays)
        pairs = zip(arrays, combined, strict=True)
        arrays = tuple(np.concatenate([old[:step], new[step:]]) for old, new in pairs)
        step *= 2
    return arrays


def _ufuncs() -> dict[Any, Any]:
    standard = tl.standard
    return {
        standard._sum_combine: np.add,
        standard._prod_combine: np.multiply,
        standard._elementwise_max: np.fmax,
        standard._elementwise_min: np.fmin,
        standard._xor_combine: np.bitwise_xor,
        standard._or_combine: np.bitwise_or,
    }


def _index_combines() -> dict[Any, tuple[Any, bool]]:
    """Triton's argmin and argmax: what makes a value win, and whether the left one wins a tie."""
    standard = tl.standard
    return {
        standard._argmax_combine_tie_break_left: (np.greater, True),
        standard._argmax_combine_tie_break_fast: (np.greater, False),
        standard._argmin_combine_tie_break_left: (np.less, True),
        standard._argmin_combine_tie_break_fast: (np.less, False),
    }


def _by_ufunc(ufunc: Any, is_bfloat16: bool) -> Combine:
    def combine(left: Arrays, right: Arrays) -> Arrays:
        if is_bfloat16:
            return (to_bits(ufunc(to_float32(left[0]), to_float32(right[0]))),)
        return (ufunc(left[0], right[0]),)

    return combine


def _by_index(wins: Any, left_wins_ties: bool, is_bfloat16: bool) -> Combine:
    def combine(left: Arrays, right: Arrays) -> Arrays:
        a, b = left[0], right[0]
        if is_bfloat16:
            a, b = to_float32(a), to_float32(b)
        take_left = wins(a, b)
        if left_wins_ties:
            take_left |= (a == b) & (left[1] < right[1])
        return tuple(np.where(take_left, *pair) for pair in zip(left, right, strict=True))

    return combine


def _by_function(operation: Any, dtypes: list[Any]) -> Combine:
    """The kernel's own combine function, called on blocks instead of on scalars.

    Like a GPU compile it refuses a function that returns another type than it is given.
    """
    function = operation.combine_fn.rewrite()

    def combine(left: Arrays, right: Arrays) -> Arrays:
        arguments = zip(left + right, dtypes * 2, strict=True)
        result = function(*(operation.to_tensor(array, dtype) for array, dtype in arguments))
        blocks = result if isinstance(result, tuple) else (result,)
        returned = [block.dtype for block in blocks]
        if returned != dtypes:
            names = ", ".join(map(str, returned)), ", ".join(map(str, dtypes))
            raise TypeError("the combine function returns {}, not {}".format(*names))
        return tuple(block.handle.data for block in blocks)

    return combine


def _combine_for(operation: Any, dtypes: list[Any]) -> Combine:
    function = operation.combine_fn
    is_bfloat16 = dtypes[0] == tl.bfloat16
    if function in (ufuncs := _ufuncs()):
        return _by_ufunc(ufuncs[function], is_bfloat16)
    if function in (indexed := _index_combines()):
        return _by_index(*indexed[function], is_bfloat16)
    return _by_function(operation, dtypes)


def _arrays(operation: Any, tensors: tuple[Any, ...]) -> Arrays:
    """The tensors' data with the operation's axis in front; flattened when it is over all axes."""
    if operation.axis is None:
        return tuple(t.handle.data.reshape(-1) for t in tensors)
    return tuple(np.moveaxis(t.handle.data, operation.axis, 0) for t in tensors)


def _reduce(self: Any, tensors: tuple[Any, ...]) -> list[Any]:
    dtypes = [tensor.dtype for tensor in tensors]
    try:
        results = _fold(_arrays(self, tensors), _combine_for(self, dtypes))
    except _NEEDS_SCALARS:
        return list(self.generic_reduce(tensors))
    if self.keep_dims:
        axes = tuple(range(tensors[0].handle.data.ndim)) if self.axis is None else self.axis
        results = tuple(np.expand_dims(result, axes) for result in results)
    return [self.to_tensor(*pair) for pair in zip(results, dtypes, strict=True)]


def _scan_all(self: Any, tensors: tuple[Any, ...]) -> list[Any]:
    dtypes = [tensor.dtype for tensor in tensors]
    arrays = _arrays(self, tensors)
    forward = slice(None, None, -1) if self.reverse else slice(None)
    try:
        results = _scan(tuple(a[forward] for a in arrays), _combine_for(self, dtypes))
    except _NEEDS_SCALARS:
        return list(_STOCK_SCAN(self, tensors))
    # Contiguous: Triton <= 3.8 stores a flipped array in the wrong order.
    results = tuple(np.ascontiguousarray(np.moveaxis(r[forward], 0, self.axis)) for r in results)
    return [self.to_tensor(*pair) for pair in zip(results, dtypes, strict=True)]


def install() -> None:
    """Replace how the interpreter reduces and scans."""
    ReduceOps.apply_impl = _reduce
    ScanOps.apply_impl = _scan_all
