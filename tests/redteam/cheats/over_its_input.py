"""Writes the result over its input without saying so, and returns that."""

BASE = "relu2"
REJECTED_BY = ("inputs unchanged", "no stale results")
SAYS = r"x is changed|memory of an input"
EDITS = {"kernel.py": [("    y = torch.empty_like(x)\n", "    y = x\n")]}
