"""Reads the gradient sent back as if it were contiguous; `y.sum()` sends one of stride 0."""

BASE = "relu2"
REJECTED_BY = ("upstream gradients", "layouts")
SAYS = r"dx .*truth"
DYNAMIC = "upstream gradients"
EDITS = {
    "kernel.py": [("    x, dy = x.contiguous(), dy.contiguous()\n", "    x = x.contiguous()\n")]
}
