"""A grid that is too small for many rows, in sixteen bits only: many rows are tried in float32."""

BASE = "rms_norm"
REJECTED_BY = "unseen shapes"
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            "    tile = row_tile(n_cols, FORWARD)\n"
            "    grid = (triton.cdiv(n_rows, tile.block_rows),)\n",
            "    tile = row_tile(n_cols, FORWARD)\n"
            "    grid = (triton.cdiv(n_rows, tile.block_rows),)\n"
            "    if x.dtype is not torch.float32:\n"
            "        grid = (min(256, grid[0]),)\n",
        ),
    ]
}
