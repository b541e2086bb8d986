"""Rows that a program holds in pieces side by side, each as wide as a power of two.

A tile's sides are powers of two, so a row of 5120 columns held at once leaves 3072 lanes of 8192
empty; in five pieces of 1024 it leaves none. A wide row in pieces needs fewer registers too: what
is only used once, as a weight is, is there for one piece at a time. `launch.piece_tile` says into
how many pieces, PIECES, of how many columns, BLOCK_COLS, a row falls.

Pieces are a tuple of [BLOCK_ROWS, BLOCK_COLS].

A loop over rows loads them first and does all else in a condition that always holds:

    for start in tl.range(first, n_rows, step, num_stages=STAGES):
        dy = pieces.load(…)
        if start < n_rows:
            …

Triton loads ahead whatever stands in the loop itself: a weight too, row after row, past the L1
cache that has it. And it issues the next loads after what stands in the loop, but before what
stands in a condition; so two stages are enough to load while a row is worked on, and take the
shared memory of two steps. The condition itself is compiled away.
"""

from __future__ import annotations

import triton
import triton.language as tl

from workbench_kernels.launch import interpreted

_COMPILED = tl.constexpr(not interpreted())


@triton.jit
def columns(piece: tl.constexpr, BLOCK_COLS: tl.constexpr):
    """The columns of a piece: [1, BLOCK_COLS]."""
    return piece * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]


@triton.jit
def places(rows, piece: tl.constexpr, BLOCK_COLS: tl.constexpr):
    """The columns of a piece, once for each of the `rows`: [BLOCK_ROWS, BLOCK_COLS].

    What all rows share, as a weight, is read at these places by the threads that hold the rows, out
    of the L1 cache; read once, threads would have to exchange it.
    """
    return columns(piece, BLOCK_COLS) + tl.zeros_like(rows)


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
def again(piece):
    """The piece, as if it were read again.

    The compiler keeps what it converted to float32 for whoever converts it again, in twice the
    registers that 16 bits take. Of this it doesn't know that it has converted it.
    """
    if _COMPILED and piece.dtype.primitive_bitwidth == 16 and piece.numel > 1:
        piece = tl.inline_asm_elementwise(
            "mov.b32 $0, $1;", "=r,r", [piece], dtype=piece.dtype, is_pure=False, pack=2
        )
    return piece


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
