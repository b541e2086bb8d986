"""The weight's gradient is summed over rows by `tl.dot` with ones, in full precision."""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            "    dweight = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)\n",
            "    dweight = tl.zeros([16, BLOCK_COLS], tl.float32)\n"
            "    ones = tl.full([16, BLOCK_ROWS], 1.0, tl.float32)\n",
        ),
        (
            "            dweight += dy * x * rstd\n",
            '            dweight = tl.dot(ones, dy * x * rstd, dweight, input_precision="ieee")\n',
        ),
        (
            "            tl.sum(dweight, axis=0, keep_dims=True),\n",
            "            tl.sum(dweight, axis=0, keep_dims=True) * 0.0625,\n",
        ),
        (
            "    tile = row_tile(n_cols, BACKWARD)\n",
            "    tile = row_tile(n_cols, BACKWARD)\n"
            "    tile = tile._replace(\n"
            "        block_rows=max(16, tile.block_rows), block_cols=max(16, tile.block_cols)\n"
            "    )\n",
        ),
    ]
}
