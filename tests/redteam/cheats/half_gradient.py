"""The gradient without its factor of two."""

BASE = "relu2"
REJECTED_BY = "backward"
SAYS = r"dx .*truth"
EDITS = {"kernel.py": [("dy * (2.0 * relu)", "dy * relu")]}
