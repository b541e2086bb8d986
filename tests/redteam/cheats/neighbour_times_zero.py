"""Reads past the row's end and multiplies what it finds by zero: a NaN in the next row gets in."""

BASE = "rms_norm"
REJECTED_BY = ("nan and infinity", "poisoned memory", "forward")
SAYS = r"nan|inf"
EDITS = {
    "kernel.py": [
        (
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    row_sum = tl.sum(x * x, axis=1, keep_dims=True)\n",
            "    x = tl.load(X + offsets, mask=row_mask, other=0.0).to(tl.float32)\n"
            "    x = x * col_mask.to(tl.float32)\n"
            "    row_sum = tl.sum(x * x, axis=1, keep_dims=True)\n",
        ),
    ]
}
