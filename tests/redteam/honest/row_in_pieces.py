"""A row of any width in blocks of 256: one pass adds up the squares, a second writes the row."""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            """\
    cols = tl.arange(0, BLOCK_COLS)[None, :]
    col_mask = cols < n_cols
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    row_mask = rows < n_rows
    mask = row_mask & col_mask
    offsets = rows.to(tl.int64) * n_cols + cols
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    row_sum = tl.sum(x * x, axis=1, keep_dims=True)
    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + eps)
    weight = tl.load(WEIGHT + cols, mask=col_mask, other=0.0).to(tl.float32)
    y = x * rstd * weight
    tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)
    tl.store(RSTD + rows, rstd, mask=row_mask)
""",
            """\
    rows = tl.program_id(0) * BLOCK_ROWS + tl.arange(0, BLOCK_ROWS)[:, None]
    row_mask = rows < n_rows
    squares = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)[None, :]
        offsets = rows.to(tl.int64) * n_cols + cols
        x = tl.load(X + offsets, mask=row_mask & (cols < n_cols), other=0.0).to(tl.float32)
        squares += x * x
    row_sum = tl.sum(squares, axis=1, keep_dims=True)
    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + eps)
    for start in range(0, n_cols, BLOCK_COLS):
        cols = start + tl.arange(0, BLOCK_COLS)[None, :]
        offsets = rows.to(tl.int64) * n_cols + cols
        mask = row_mask & (cols < n_cols)
        weight = tl.load(WEIGHT + cols, mask=cols < n_cols, other=0.0).to(tl.float32)
        x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
        tl.store(Y + offsets, (x * rstd * weight).to(Y.dtype.element_ty), mask=mask)
    tl.store(RSTD + rows, rstd, mask=row_mask)
""",
        ),
        (
            "    tile = row_tile(n_cols, FORWARD)\n"
            "    grid = (triton.cdiv(n_rows, tile.block_rows),)\n",
            "    grid = (triton.cdiv(n_rows, 4),)\n",
        ),
        (
            """\
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
    return y, rstd
""",
            """\
            BLOCK_ROWS=4,
            BLOCK_COLS=256,
        )
    return y, rstd
""",
        ),
    ]
}
