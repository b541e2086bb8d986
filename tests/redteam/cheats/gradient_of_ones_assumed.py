"""Assumes that the gradient sent back is one everywhere, as `y.sum().backward()` sends it."""

BASE = "relu2"
REJECTED_BY = "backward"
SAYS = r"dx .*truth"
EDITS = {"kernel.py": [("dx = dy * (2.0 * relu)", "dx = 2.0 * relu")]}
