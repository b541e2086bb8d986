"""A comparison that turns NaN into zero (`tl.maximum` does so by default; AutoKernel masked
NaN).
"""

BASE = "relu2"
REJECTED_BY = "nan and infinity"
SAYS = r"truth nan"
EDITS = {
    "kernel.py": [
        (
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store",
            "    relu = tl.where(x > 0.0, x, 0.0)\n    tl.store",
        ),
    ]
}
