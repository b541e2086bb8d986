"""Takes the stride of the last but one dimension for the distance of all rows: wrong for batches of
rows that lie apart.
"""

BASE = "rms_norm"
REJECTED_BY = "layouts"
SAYS = r"(?i)dimensions.*truth"
EDITS = {
    "kernel.py": [
        (
            "    Y, RSTD, X, WEIGHT, eps, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, "
            "BLOCK_COLS: tl.constexpr\n",
            "    Y, RSTD, X, WEIGHT, eps, n_rows, n_cols, row_stride,\n"
            "    BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr,\n",
        ),
        (
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    row_sum = tl.sum(x * x",
            "    places = rows.to(tl.int64) * row_stride + cols\n"
            "    x = tl.load(X + places, mask=mask, other=0.0).to(tl.float32)\n"
            "    row_sum = tl.sum(x * x",
        ),
        (
            """\
    x, weight = x.contiguous(), weight.contiguous()
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    y = torch""",
            """\
    weight = weight.contiguous()
    if x.dim() < 2 or x.stride(-1) != 1 or x.stride(-2) < x.shape[-1]:
        x = x.contiguous()
    n_cols = x.shape[-1]
    n_rows = x.numel() // n_cols
    y = torch""",
        ),
        (
            "            eps,\n            n_rows,\n            n_cols,\n",
            "            eps,\n            n_rows,\n            n_cols,\n"
            "            x.stride(-2) if x.dim() > 1 else n_cols,\n",
        ),
    ]
}
