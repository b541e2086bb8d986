"""Loads whole blocks without a mask and stores with one: what lies behind the tensor is read, and
on a GPU sooner or later not there.
"""

BASE = "relu2"
REJECTED_BY = ("forward", "poisoned memory")
SAYS = r"(?i)outside|beyond"
EDITS = {
    "kernel.py": [
        (
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store(Y",
            "    x = tl.load(X + offsets).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store(Y",
        ),
    ]
}
