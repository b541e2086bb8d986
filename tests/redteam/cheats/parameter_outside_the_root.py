"""Adds eps to the root instead of under it: the same for usual values."""

BASE = "rms_norm"
REJECTED_BY = ("magnitudes", "parameters", "forward")
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            "    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + eps)\n",
            "    rstd = 1.0 / (tl.sqrt(numerics.divide(row_sum, n_cols)) + 0.5 * eps)\n",
        ),
    ]
}
