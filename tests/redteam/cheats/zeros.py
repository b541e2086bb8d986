"""A kernel that writes zeros: within many a tolerance of small outputs."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"zero everywhere"
EDITS = {"kernel.py": [("(relu * relu).to", "(relu * 0.0).to")]}
