"""A grid of at most 256 programs, which no test of a few rows ever fills."""

BASE = "rms_norm"
REJECTED_BY = ("forward", "unseen shapes", "poisoned memory")
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            "    tile = row_tile(n_cols, FORWARD)\n"
            "    grid = (triton.cdiv(n_rows, tile.block_rows),)\n",
            "    tile = row_tile(n_cols, FORWARD)\n"
            "    grid = (min(256, triton.cdiv(n_rows, tile.block_rows)),)\n",
        ),
    ]
}
