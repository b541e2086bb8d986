"""Returns None."""

BASE = "relu2"
REJECTED_BY = ("forward", "form of outputs")
SAYS = r"(?i)none|tensor|AttributeError"
EDITS = {"wrapper.py": [("    return kernel.relu2(x)\n", "    kernel.relu2(x)\n")]}
