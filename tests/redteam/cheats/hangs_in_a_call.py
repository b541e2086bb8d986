"""Never comes back from a call."""

BASE = "relu2"
REJECTED_BY = "process"
SAYS = r"hangs|out of time"
TIMEOUT = 60
EDITS = {"kernel.py": [("    return y\n", "    while True:\n        pass\n")]}
