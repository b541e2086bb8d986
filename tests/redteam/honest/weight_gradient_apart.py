"""dx and dweight by two kernels: one along the rows, one down the columns without partial sums."""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            "def forward(x: Tensor, weight: Tensor, eps: float)",
            """\
@triton.jit
def _rms_norm_bwd_weight(
    DWEIGHT, DY, X, RSTD, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr
):
    cols = tl.program_id(0) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    total = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)
    for start in range(0, n_rows, BLOCK_ROWS):
        rows = start + tl.arange(0, BLOCK_ROWS)[:, None]
        mask = (rows < n_rows) & (cols < n_cols)
        offsets = rows.to(tl.int64) * n_cols + cols
        dy = tl.load(DY + offsets, mask=mask, other=0.0).to(tl.float32)
        x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
        rstd = tl.load(RSTD + rows, mask=rows < n_rows, other=0.0)
        total += dy * (x * rstd)
    dweight = tl.sum(total, axis=0, keep_dims=True)
    tl.store(DWEIGHT + cols, dweight.to(DWEIGHT.dtype.element_ty), mask=cols < n_cols)


def forward(x: Tensor, weight: Tensor, eps: float)""",
        ),
        (
            "    dweight_parts = x.new_empty((grid[0], n_cols), dtype=torch.float32) if needs[1] "
            "else None\n",
            "    dweight = x.new_empty(n_cols) if needs[1] else None\n",
        ),
        (
            """\
    with device_of(x):
        _rms_norm_bwd[grid](
            dx,
            dweight_parts,
            dy,
            x,
            weight,
            rstd,
            n_rows,
            n_cols,
            BLOCK_ROWS=tile.block_rows,
            BLOCK_COLS=tile.block_cols,
            STAGES=stages(tile, 2, x.dtype),
            num_warps=tile.num_warps,
        )
    dweight = add_parts(dweight_parts, x.shape[-1:], x.dtype) if dweight_parts is not None else None
""",
            """\
    with device_of(x):
        if dx is not None and n_rows:
            _rms_norm_bwd[grid](
                dx,
                None,
                dy,
                x,
                weight,
                rstd,
                n_rows,
                n_cols,
                BLOCK_ROWS=tile.block_rows,
                BLOCK_COLS=tile.block_cols,
                STAGES=stages(tile, 2, x.dtype),
                num_warps=tile.num_warps,
            )
        if dweight is not None:
            _rms_norm_bwd_weight[(triton.cdiv(n_cols, 128),)](
                dweight, dy, x, rstd, n_rows, n_cols, BLOCK_ROWS=16, BLOCK_COLS=128
            )
""",
        ),
        ("from workbench_kernels.partials import add_parts\n", ""),
    ]
}
