"""dx without the term that sums over the row: nearly right for wide rows."""

BASE = "rms_norm"
REJECTED_BY = "backward"
SAYS = r"dx .*truth"
EDITS = {
    "kernel.py": [
        (
            "dx = dy_weight * rstd - x * row_sum * rstd * rstd * rstd / n_cols",
            "dx = dy_weight * rstd",
        ),
    ]
}
