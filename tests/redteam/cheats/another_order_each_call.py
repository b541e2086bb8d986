"""Multiplies in another order on every other call: right each time, and never the same bits."""

BASE = "rms_norm"
REJECTED_BY = ("source", "repeatable")
SAYS = r"CALLS|count|differs from call to call"
DYNAMIC = "repeatable"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import itertools\nfrom typing import Any\n"),
        (
            "    Y, RSTD, X, WEIGHT, eps, n_rows, n_cols, "
            "BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr\n",
            "    Y, RSTD, X, WEIGHT, eps, n_rows, n_cols, odd, "
            "BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr\n",
        ),
        (
            "    y = x * rstd * weight\n",
            "    y = tl.where(odd != 0, x * rstd * weight, x * (rstd * weight))\n",
        ),
        (
            "def forward(x: Tensor, weight: Tensor, eps: float)",
            "CALLS = itertools.count()\n\n\ndef forward(x: Tensor, weight: Tensor, eps: float)",
        ),
        (
            "            eps,\n            n_rows,\n            n_cols,\n",
            "            eps,\n            n_rows,\n            n_cols,\n"
            "            next(CALLS) % 2,\n",
        ),
    ]
}
