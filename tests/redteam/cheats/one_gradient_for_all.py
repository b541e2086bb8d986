"""Reads the first element of the gradient sent back and takes it for all."""

BASE = "relu2"
REJECTED_BY = "backward"
SAYS = r"dx .*truth"
EDITS = {
    "kernel.py": [
        ("    dx = dy * (2.0 * relu)\n", "    dx = tl.load(DY).to(tl.float32) * (2.0 * relu)\n")
    ]
}
