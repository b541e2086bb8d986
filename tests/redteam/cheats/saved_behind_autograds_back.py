"""Keeps its input on ctx instead of saving it: whoever changes it before the backward gets another
gradient, and no error.
"""

BASE = "relu2"
REJECTED_BY = "no stale results"
SAYS = r"inputs changed before the backward: dx at"
EDITS = {
    "kernel.py": [
        ("    ctx.save_for_backward(x)\n", "    ctx.x = x\n"),
        ("    (x,) = ctx.saved_tensors\n", "    x = ctx.x\n"),
    ]
}
