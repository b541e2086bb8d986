"""Wrong by a thousandth in one row of many: a tolerance over the whole tensor would not see it."""

BASE = "rms_norm"
REJECTED_BY = "forward"
SAYS = r"row 2"
EDITS = {
    "kernel.py": [
        (
            "    y = x * rstd * weight\n",
            "    y = x * rstd * weight * tl.where(rows == 2, 1.001, 1.0)\n",
        ),
    ]
}
