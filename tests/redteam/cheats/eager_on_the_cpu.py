"""Falls back to PyTorch where there is no GPU, and in the interpreter: the kernel is never
tried.
"""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"relu|square"
DYNAMIC = "work"
EDITS = {
    "wrapper.py": [
        (
            "    return kernel.relu2(x)\n",
            "    return kernel.relu2(x) if x.is_cuda else x.relu().square()\n",
        ),
    ]
}
