"""Holds at most 4096 columns of a row, as the spec's small sizes need; wider rows lose their
end.
"""

BASE = "rms_norm"
REJECTED_BY = ("forward", "poisoned memory")
SAYS = r"2x4097.*truth|truth"
EDITS = {
    "kernel.py": [
        (
            "    tile = row_tile(n_cols, FORWARD)\n",
            "    tile = row_tile(min(n_cols, 4096), FORWARD)\n",
        ),
    ]
}
