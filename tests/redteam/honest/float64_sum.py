"""The row's sum of squares is taken in float64: slower, and nearer to the truth."""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            "    row_sum = tl.sum(x * x, axis=1, keep_dims=True)\n",
            "    wide = x.to(tl.float64)\n"
            "    row_sum = tl.sum(wide * wide, axis=1, keep_dims=True).to(tl.float32)\n",
        ),
    ]
}
