"""Half of the work is done in the wrapper, before the op: the kernel only squares."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"clamp"
DYNAMIC = "work"
EDITS = {
    "wrapper.py": [("    return kernel.relu2(x)\n", "    return kernel.relu2(x.clamp(min=0))\n")],
    "kernel.py": [
        (
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store(Y",
            "    relu = x\n    tl.store(Y",
        ),
    ],
}
