"""Second half of a sum over the batch: add the parts the programs left, in a fixed order, so
results repeat bit for bit.

    out[c] = Σₚ parts[p, c]

Atomics would need one launch less, and give another rounding on every call.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import device_of, interpreted


@triton.jit
def _add(OUT, PARTS, n_parts, n_cols, BLOCK_PARTS: tl.constexpr, BLOCK_COLS: tl.constexpr):
    cols = tl.program_id(0) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    total = tl.zeros([BLOCK_PARTS, BLOCK_COLS], tl.float32)
    for start in range(0, n_parts, BLOCK_PARTS):
        parts = start + tl.arange(0, BLOCK_PARTS)[:, None]
        mask = (parts < n_parts) & (cols < n_cols)
        total += tl.load(PARTS + parts * n_cols + cols, mask=mask, other=0.0)
    out = tl.sum(total, axis=0, keep_dims=True)
    tl.store(OUT + cols, out.to(OUT.dtype.element_ty), mask=cols < n_cols)


@triton.jit
def _add_parts(
    OUTS, PARTS, sizes, COUNT: tl.constexpr, BLOCK_PARTS: tl.constexpr, BLOCK_COLS: tl.constexpr
):
    for index in tl.static_range(COUNT):
        if tl.program_id(1) == index:
            odd, n_cols = sizes[index]
            _add(OUTS[index], PARTS[index], (odd - 3) // 2, n_cols, BLOCK_PARTS, BLOCK_COLS)


def add_parts(parts: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The sum of `parts` over its first dimension, as a tensor of `shape` and `dtype`.

    parts: (n_parts, n_cols) float32, contiguous; shape has n_cols elements. No parts give zeros.
    """
    return add_all_parts([parts], [shape], dtype)[0]


def add_all_parts(
    parts: Sequence[Tensor], shapes: Sequence[tuple[int, ...]], dtype: torch.dtype
) -> list[Tensor]:
    """`add_parts` of several tensors on one device, in one launch."""
    outs = [part.new_empty(shape, dtype=dtype) for part, shape in zip(parts, shapes, strict=True)]
    if not outs:
        return []
    n_cols = max(part.shape[1] for part in parts)
    # Narrow blocks fill a GPU; the interpreter pays for every program.
    block_cols = min(2048 if interpreted() else 32, triton.next_power_of_2(n_cols))
    with device_of(parts[0]):
        _add_parts[(triton.cdiv(n_cols, block_cols), len(outs))](
            tuple(outs),
            tuple(parts),
            # Triton compiles for a 1 and for multiples of 16, in a tuple whatever it is told: how
            # many parts there are, which the number of rows decides, is passed as neither.
            tuple((2 * part.shape[0] + 3, part.shape[1]) for part in parts),
            COUNT=len(outs),
            BLOCK_PARTS=128,
            BLOCK_COLS=block_cols,
        )
    return outs
