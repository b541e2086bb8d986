"""The first gradient is right only where the second is wanted too."""

BASE = "swiglu"
REJECTED_BY = "subsets of gradients"
SAYS = r"dgate"
EDITS = {
    "kernel.py": [
        (
            "    if DGATE is not None:\n",
            "    if DUP is None:\n        dgate = dup\n    if DGATE is not None:\n",
        ),
    ]
}
