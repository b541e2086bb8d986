"""Divides a row by its largest element before it squares, so that nothing overflows: 0 / 0 in a row
of padding.
"""

BASE = "rms_norm"
REJECTED_BY = "zeros"
SAYS = r"row of.*nan"
EDITS = {
    "kernel.py": [
        (
            """\
    row_sum = tl.sum(x * x, axis=1, keep_dims=True)
    rstd = tl.rsqrt(numerics.divide(row_sum, n_cols) + eps)
""",
            """\
    peak = tl.max(tl.abs(x), axis=1, keep_dims=True)
    usual = (peak > 1e15) & (peak < float("inf"))
    by = tl.where(usual, peak, tl.where(peak == 0.0, 0.0, 1.0))
    part = tl.sum((x / by) * (x / by), axis=1, keep_dims=True)
    rstd = tl.rsqrt(numerics.divide(part, n_cols) * by * by + eps)
""",
        ),
    ]
}
