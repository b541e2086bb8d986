"""A mask that is one too short: the last element is whatever the memory held."""

BASE = "relu2"
REJECTED_BY = ("poisoned memory", "forward")
SAYS = r"truth"
DYNAMIC = "poisoned memory"
EDITS = {
    "kernel.py": [
        (
            "    mask = offsets < n\n"
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store",
            "    mask = offsets < n - 1\n"
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store",
        ),
    ]
}
