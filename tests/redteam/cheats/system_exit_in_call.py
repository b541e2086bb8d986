"""Raises SystemExit(0) in a call: no import is needed for it, and `except Exception` misses it."""

BASE = "relu2"
REJECTED_BY = ("forward", "process")
SAYS = r"SystemExit|exit"
EDITS = {"kernel.py": [("    return y\n", "    raise SystemExit(0)\n")]}
