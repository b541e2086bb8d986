"""Prints without end."""

BASE = "relu2"
REJECTED_BY = ("process", "source")
SAYS = r"hang|hung|in time|timed? ?out|print|output|killed|large|space"
DYNAMIC = "process"
TIMEOUT = 60
EDITS = {
    "kernel.py": [("    return y\n", '    while True:\n        print("PASSED " * 100_000)\n')],
}
