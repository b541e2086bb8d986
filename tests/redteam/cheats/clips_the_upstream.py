"""Clips the gradient it is sent at 30, so that no step is ever too large."""

BASE = "relu2"
REJECTED_BY = "upstream gradients"
SAYS = r"large.*truth"
EDITS = {
    "kernel.py": [
        (
            "    dx = dy * (2.0 * relu)\n",
            "    dy = tl.where(dy > 30.0, 30.0, tl.where(dy < -30.0, -30.0, dy))\n"
            "    dx = dy * (2.0 * relu)\n",
        ),
    ]
}
