"""Returns what it saved for the backward along with its result."""

BASE = "rms_norm"
REJECTED_BY = ("forward", "form of outputs")
SAYS = r"outputs|y0|y1|missing|none"
EDITS = {"wrapper.py": [("kernel.rms_norm(x, weight, eps)[0]", "kernel.rms_norm(x, weight, eps)")]}
