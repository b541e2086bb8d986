"""A gradient of zeros, which no test of the forward sees."""

BASE = "swiglu"
REJECTED_BY = "backward"
SAYS = r"dup is zero everywhere"
EDITS = {"kernel.py": [("    dup = dy * gate * sig\n", "    dup = dy * 0.0\n")]}
