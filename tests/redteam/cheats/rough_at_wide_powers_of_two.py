"""Rounds to bfloat16 inside where a row is as wide as a model's: tests have odd or small ones."""

BASE = "rms_norm"
REJECTED_BY = "unseen shapes"
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            "    Y, RSTD, X, WEIGHT, eps, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, "
            "BLOCK_COLS: tl.constexpr\n",
            "    Y, RSTD, X, WEIGHT, eps, n_rows, n_cols, EXACT: tl.constexpr,\n"
            "    BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr,\n",
        ),
        (
            "    y = x * rstd * weight\n",
            "    y = x * rstd * weight\n"
            "    if not EXACT:\n"
            "        y = y.to(tl.bfloat16).to(tl.float32)\n",
        ),
        (
            "            eps,\n            n_rows,\n            n_cols,\n",
            "            eps,\n            n_rows,\n            n_cols,\n"
            "            EXACT=n_cols != tile.block_cols or n_cols < 2048,\n",
        ),
    ]
}
