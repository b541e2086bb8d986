"""Keeps its input on ctx and lets go of it in the backward: a second loss through the same graph
finds nothing.
"""

BASE = "relu2"
REJECTED_BY = "no stale results"
SAYS = r"(?i)None|error"
EDITS = {
    "kernel.py": [
        ("    ctx.save_for_backward(x)\n", "    ctx.kept = x\n"),
        (
            "    (x,) = ctx.saved_tensors\n    needs",
            "    x, ctx.kept = ctx.kept, None\n    needs",
        ),
    ]
}
