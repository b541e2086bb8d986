"""Rows that a program holds in pieces side by side, each as wide as a power of two.

A tile's sides are powers of two, so a row of 5120 columns held at once leaves 3072 lanes of 8192
empty; in five pieces of 1024 it leaves none. A wide row in pieces needs fewer registers too: what
is only used once, as a weight is, is there for one piece at a time. `launch.piece_tile` says into
how many pieces, PIECES, of how many columns, BLOCK_COLS, a row falls.

Pieces are a tuple of [BLOCK_ROWS, BLOCK_COLS].
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def columns(piece: tl.constexpr, BLOCK_COLS: tl.constexpr):
    """The columns of a piece: [1, BLOCK_COLS]."""
    return piece * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]


@triton.jit
def append(pieces, piece):
    """The pieces, and another one."""
    return pieces + (piece,)  # noqa: RUF005  (Triton knows no `*pieces` in a tuple)


@triton.jit
def load(
    X,
    row_mask,
    n_cols,
    PIECES: tl.constexpr,
    BLOCK_COLS: tl.constexpr,
    OTHER: tl.constexpr = 0.0,
):
    """The rows that begin at the pointers X, [BLOCK_ROWS, 1], in their dtype, which takes fewest
    registers; `OTHER` where `row_mask` is false and where there is no column.
    """
    pieces = ()
    for piece in tl.static_range(PIECES):
        cols = columns(piece, BLOCK_COLS)
        x = tl.load(X + cols, mask=row_mask & (cols < n_cols), other=OTHER)
        pieces = append(pieces, x)
    return pieces


@triton.jit
def zeros(PIECES: tl.constexpr, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr):
    """Zeros in float32, to which rows are added."""
    pieces = ()
    for _ in tl.static_range(PIECES):
        pieces = append(pieces, tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32))
    return pieces


@triton.jit
def store_sums(PARTS, sums, n_cols, PIECES: tl.constexpr, BLOCK_COLS: tl.constexpr):
    """Each column's sum over the rows of the pieces, at PARTS, which is float32."""
    for piece in tl.static_range(PIECES):
        cols = columns(piece, BLOCK_COLS)
        part = tl.sum(sums[piece], axis=0, keep_dims=True)
        tl.store(PARTS + cols, part, mask=cols < n_cols)
