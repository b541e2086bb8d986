"""Second half of a sum over the batch: add the parts the programs left, in a fixed order, so
results repeat bit for bit.

    out[c] = Σₚ parts[p, c]

Atomics would need one launch less, and give another rounding on every call.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.jit import jit
from workbench_kernels.launch import cdiv, device_of, interpreted

_SLICE = 2048  # most parts that a program adds: with few columns there are few programs
_BLOCK_PARTS = 128  # of these, at once


@triton.jit
def _add(OUT, PARTS, n_parts, n_cols, SLICE, BLOCK_PARTS: tl.constexpr, BLOCK_COLS: tl.constexpr):
    """The sum of a slice of the parts, a row of OUT."""
    cols = tl.program_id(0) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    first = tl.program_id(2) * SLICE
    last = tl.minimum(n_parts, first + SLICE)
    total = tl.zeros([BLOCK_PARTS, BLOCK_COLS], tl.float32)
    for start in range(first, last, BLOCK_PARTS):
        parts = start + tl.arange(0, BLOCK_PARTS)[:, None]
        mask = (parts < last) & (cols < n_cols)
        total += tl.load(PARTS + parts * n_cols + cols, mask=mask, other=0.0)
    out = tl.sum(total, axis=0, keep_dims=True)
    OUT += tl.program_id(2) * n_cols
    tl.store(OUT + cols, out.to(OUT.dtype.element_ty), mask=cols < n_cols)


@jit
def _add_parts(
    OUTS,
    PARTS,
    sizes,
    SLICE,
    COUNT: tl.constexpr,
    BLOCK_PARTS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    for index in tl.static_range(COUNT):
        if tl.program_id(1) == index:
            odd, n_cols = sizes[index]
            n_parts = (odd - 3) // 2
            _add(OUTS[index], PARTS[index], n_parts, n_cols, SLICE, BLOCK_PARTS, BLOCK_COLS)


def add_parts(parts: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The sum of `parts` over its first dimension, as a tensor of `shape` and `dtype`.

    parts: (n_parts, n_cols) float32, contiguous; shape has n_cols elements. No parts give zeros.
    """
    return add_all_parts([parts], [shape], dtype)[0]


def add_all_parts(
    parts: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], dtype: torch.dtype
) -> list[Tensor]:
    """`add_parts` of several tensors on one device, in one launch; many parts in several."""
    if not parts:
        return []
    most = max(part.shape[0] for part in parts)
    if most > _SLICE:
        slices = cdiv(most, _SLICE)
        sliced = [part.new_empty((slices, part.shape[1])) for part in parts]
        _launch(sliced, parts, slices)
        return add_all_parts(sliced, shapes, dtype)
    outs = [part.new_empty(shape, dtype=dtype) for part, shape in zip(parts, shapes, strict=True)]
    _launch(outs, parts, 1)
    return outs


def _launch(outs: Sequence[Tensor], parts: Sequence[Tensor], slices: int) -> None:
    """Add each tensor's parts up, in so many slices."""
    n_cols = max(part.shape[1] for part in parts)
    block_cols, warps = _block(n_cols)
    with device_of(parts[0]):
        _add_parts[(cdiv(n_cols, block_cols), len(outs), slices)](
            tuple(outs),
            tuple(parts),
            # Triton compiles for a 1 and for multiples of 16, in a tuple whatever it is told: how
            # many parts there are, which the number of rows decides, is passed as neither.
            tuple((2 * part.shape[0] + 3, part.shape[1]) for part in parts),
            _SLICE,
            COUNT=len(outs),
            BLOCK_PARTS=_BLOCK_PARTS,
            BLOCK_COLS=block_cols,
            num_warps=warps,
        )


@cache
def _block(n_cols: int) -> tuple[int, int]:
    """Columns of a program, and its warps."""
    whole = triton.next_power_of_2(n_cols)
    # Narrow blocks fill a GPU; the interpreter pays for every program.
    block_cols = min(2048 if interpreted() else 16, whole)
    # Few programs need more warps to have as much on its way, but no more than there are elements.
    return block_cols, min(16, max(4, 32768 // whole), _BLOCK_PARTS * block_cols // 32)
