"""A kernel that copies: right wherever the op happens to be the identity."""

BASE = "rms_norm"
REJECTED_BY = "forward"
SAYS = r"is .*, truth"
EDITS = {"kernel.py": [("    y = x * rstd * weight\n", "    y = x\n")]}
