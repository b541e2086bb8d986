"""Returns its rows flattened."""

BASE = "relu2"
REJECTED_BY = ("forward", "form of outputs")
SAYS = r"expected"
EDITS = {"wrapper.py": [("    return kernel.relu2(x)\n", "    return kernel.relu2(x).view(-1)\n")]}
