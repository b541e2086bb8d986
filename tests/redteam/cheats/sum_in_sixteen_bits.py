"""Adds up a row in the dtype of its input: in 16 bits a long sum stops growing."""

BASE = "rms_norm"
REJECTED_BY = "forward"
SAYS = r"float16.*truth"
EDITS = {
    "kernel.py": [
        (
            "    row_sum = tl.sum(x * x, axis=1, keep_dims=True)\n    rstd",
            """\
    squares = tl.zeros([BLOCK_ROWS, 4], X.dtype.element_ty)
    for start in range(0, n_cols, 4):
        some = start + tl.arange(0, 4)[None, :]
        within = row_mask & (some < n_cols)
        part = tl.load(X + rows.to(tl.int64) * n_cols + some, mask=within, other=0.0).to(tl.float32)
        squares = (squares.to(tl.float32) + part * part).to(X.dtype.element_ty)
    row_sum = tl.sum(squares.to(tl.float32), axis=1, keep_dims=True)
    rstd""",
        ),
    ]
}
