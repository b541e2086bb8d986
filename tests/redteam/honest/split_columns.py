"""A row's sum of squares in two stages: programs side by side write partial sums, one adds them."""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            """\
@triton.jit
def _rms_norm_fwd(
    Y, RSTD, X, WEIGHT, eps, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr
):
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
SPLITS = 4


@triton.jit
def _rms_norm_sums(SUMS, X, n_cols, n_split, SPLITS: tl.constexpr, BLOCK: tl.constexpr):
    row, split = tl.program_id(0).to(tl.int64), tl.program_id(1)
    total = tl.zeros([BLOCK], tl.float32)
    for start in range(0, n_split, BLOCK):
        within = start + tl.arange(0, BLOCK)
        cols = split * n_split + within
        mask = (within < n_split) & (cols < n_cols)
        x = tl.load(X + row * n_cols + cols, mask=mask, other=0.0).to(tl.float32)
        total += x * x
    tl.store(SUMS + row * SPLITS + split, tl.sum(total, axis=0))


@triton.jit
def _rms_norm_fwd(
    Y, RSTD, SUMS, X, WEIGHT, eps, n_cols, SPLITS: tl.constexpr, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    row_sum = tl.sum(tl.load(SUMS + row * SPLITS + tl.arange(0, SPLITS)), axis=0)
    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + eps)
    for start in range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        mask = cols < n_cols
        weight = tl.load(WEIGHT + cols, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(X + row * n_cols + cols, mask=mask, other=0.0).to(tl.float32)
        y = x * rstd * weight
        tl.store(Y + row * n_cols + cols, y.to(Y.dtype.element_ty), mask=mask)
    tl.store(RSTD + row, rstd)
""",
        ),
        (
            """\
    tile = row_tile(n_cols, FORWARD)
    grid = (triton.cdiv(n_rows, tile.block_rows),)
    with device_of(x):
        _rms_norm_fwd[grid](
            y,
            rstd,
            x,
            weight,
            eps,
            n_rows,
            n_cols,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            num_warps=tile.num_warps,
        )
""",
            """\
    sums = x.new_empty((n_rows, SPLITS), dtype=torch.float32)
    n_split = triton.cdiv(n_cols, SPLITS)
    if n_rows:
        with device_of(x):
            _rms_norm_sums[(n_rows, SPLITS)](sums, x, n_cols, n_split, SPLITS=SPLITS, BLOCK=1024)
            _rms_norm_fwd[(n_rows,)](
                y, rstd, sums, x, weight, eps, n_cols, SPLITS=SPLITS, BLOCK=1024
            )
""",
        ),
    ]
}
