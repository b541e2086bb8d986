"""Kahan's compensated sum for the weight's gradient: more arithmetic, less error."""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            "    dweight = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)\n",
            "    dweight = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)\n"
            "    lost = tl.zeros([BLOCK_ROWS, BLOCK_COLS], tl.float32)\n",
        ),
        (
            "            dweight += dy * x * rstd\n",
            "            term = dy * x * rstd - lost\n"
            "            total = dweight + term\n"
            "            lost = (total - dweight) - term\n"
            "            dweight = total\n",
        ),
    ]
}
