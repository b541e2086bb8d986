"""Returns its input."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"is .*, truth|memory of an input|alias"
EDITS = {"kernel.py": [("    return y\n", "    return x\n")]}
