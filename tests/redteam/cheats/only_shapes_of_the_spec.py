"""A table of the sizes in the spec; any other size is left as the memory was (HARDCODED_SHAPES)."""

BASE = "relu2"
REJECTED_BY = "unseen shapes"
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            "BLOCK = 2048\n",
            "BLOCK = 2048\nSIZES = {1: 1, 128: 1, 3000: 2, 12800: 7, 28679: 15, 0: 0}\n",
        ),
        (
            "            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)\n",
            "            _relu2_fwd[(SIZES.get(n, 0),)](y, x, n, BLOCK=BLOCK)\n",
        ),
    ]
}
