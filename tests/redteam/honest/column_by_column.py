"""Programs go down the columns: one holds 16 columns and walks over all rows."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            """\
def _relu2_fwd(Y, X, n, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)
""",
            """\
def _relu2_fwd(Y, X, n_rows, n_cols, ROWS: tl.constexpr, COLS: tl.constexpr):
    cols = tl.program_id(0) * COLS + tl.arange(0, COLS)[None, :]
    for start in range(0, n_rows, ROWS):
        rows = start + tl.arange(0, ROWS)[:, None]
        offsets = rows.to(tl.int64) * n_cols + cols
        mask = (rows < n_rows) & (cols < n_cols)
        x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)
        relu = tl.where(x < 0.0, 0.0, x)
        tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)
""",
        ),
        (
            """\
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)
""",
            """\
            n_cols = x.shape[-1] if x.dim() else 1
            grid = (triton.cdiv(n_cols, 16),)
            _relu2_fwd[grid](y, x, n // n_cols, n_cols, ROWS=64, COLS=16)
""",
        ),
    ]
}
