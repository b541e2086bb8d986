"""Takes eps and uses the usual one."""

BASE = "rms_norm"
REJECTED_BY = ("parameters", "magnitudes")
SAYS = r"eps|truth"
DYNAMIC = "parameters"
EDITS = {
    "kernel.py": [
        (
            "    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + eps)",
            "    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + 1e-6)",
        ),
    ]
}
