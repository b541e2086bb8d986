"""Computes into memory that it frees, and takes its result from fresh memory that is often the
same.
"""

BASE = "relu2"
REJECTED_BY = ("poisoned memory", "forward")
SAYS = r"truth"
DYNAMIC = "poisoned memory"
EDITS = {
    "kernel.py": [("    return y\n", "    del y\n    return torch.empty_like(x)\n")],
}
