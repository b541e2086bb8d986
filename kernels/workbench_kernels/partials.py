"""Second half of a sum over the batch: add the parts the programs left, in a fixed order, so
results repeat bit for bit.

    out[c] = Σₚ parts[p, c]

Atomics would need one launch less, and give another rounding on every call.
"""

from __future__ import annotations

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
    OUT,
    PARTS,
    OTHER_OUT,
    OTHER_PARTS,
    n_parts,
    n_cols,
    BLOCK_PARTS: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
):
    if tl.program_id(1) == 0:
        _add(OUT, PARTS, n_parts, n_cols, BLOCK_PARTS, BLOCK_COLS)
    if OTHER_PARTS is not None:  # noqa: SIM102  (one is known when compiled, one when run)
        if tl.program_id(1) == 1:
            _add(OTHER_OUT, OTHER_PARTS, n_parts, n_cols, BLOCK_PARTS, BLOCK_COLS)


def add_parts(parts: Tensor, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """The sum of `parts` over its first dimension, as a tensor of `shape` and `dtype`.

    parts: (n_parts, n_cols) float32, contiguous; shape has n_cols elements. No parts give zeros.
    """
    out = parts.new_empty(shape, dtype=dtype)
    _launch(out, parts, None, None)
    return out


def add_parts_of_both(
    parts: Tensor, others: Tensor, shape: tuple[int, ...], dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """`add_parts` of two tensors of the same shape, in one launch."""
    out, other = (parts.new_empty(shape, dtype=dtype) for _ in range(2))
    _launch(out, parts, other, others)
    return out, other


def _launch(out: Tensor, parts: Tensor, other: Tensor | None, others: Tensor | None) -> None:
    n_parts, n_cols = parts.shape
    # Narrow blocks fill a GPU; the interpreter pays for every program.
    block_cols = min(2048 if interpreted() else 32, triton.next_power_of_2(n_cols))
    with device_of(parts):
        _add_parts[(triton.cdiv(n_cols, block_cols), 1 if others is None else 2)](
            out, parts, other, others, n_parts, n_cols, BLOCK_PARTS=128, BLOCK_COLS=block_cols
        )
