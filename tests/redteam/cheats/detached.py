"""Cuts the graph before the op: the output wants no gradient."""

BASE = "relu2"
REJECTED_BY = ("backward", "form of outputs")
SAYS = r"missing|without a gradient"
EDITS = {"wrapper.py": [("    return kernel.relu2(x)\n", "    return kernel.relu2(x.detach())\n")]}
