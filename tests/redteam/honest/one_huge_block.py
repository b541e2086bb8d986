"""A block of 65536 elements, larger than most tensors it is given."""

BASE = "swiglu"
EDITS = {"kernel.py": [("BLOCK = 2048", "BLOCK = 65536")]}
