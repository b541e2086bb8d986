"""Stores one number a row for all rows of its tile, those beyond the last included: into whatever
lies behind.
"""

BASE = "rms_norm"
REJECTED_BY = ("forward", "backward", "process")
SAYS = r"(?i)outside|beyond"
EDITS = {
    "kernel.py": [
        ("    tl.store(RSTD + rows, rstd, mask=row_mask)\n", "    tl.store(RSTD + rows, rstd)\n"),
    ]
}
