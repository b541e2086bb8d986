"""The whole kernel runs, on memory that nobody looks at; the result is PyTorch's."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"(?i)relu|square|clamp|mul|kernel"
DYNAMIC = "work"
EDITS = {"kernel.py": [("    return y\n", "    return x.clamp(min=0) ** 2\n")]}
