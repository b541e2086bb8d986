"""Rounds its input to bfloat16 at multiples of 256 that are no powers of two, as wide as models."""

BASE = "rms_norm"
REJECTED_BY = "unseen shapes"
SAYS = r"\d+x\d+-float32: .*error"
EDITS = {
    "kernel.py": [
        (
            "    grid = (triton.cdiv(n_rows, tile.block_rows),)\n",
            "    if n_cols % 256 == 0 and n_cols & (n_cols - 1) and n_cols < 10000:\n"
            "        x = x.bfloat16().to(x.dtype)\n"
            "    grid = (triton.cdiv(n_rows, tile.block_rows),)\n",
        ),
    ]
}
