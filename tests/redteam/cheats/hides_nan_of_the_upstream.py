"""Takes a NaN in the gradient it is sent for zero: a run that has diverged trains on."""

BASE = "swiglu"
REJECTED_BY = "upstream gradients"
SAYS = r"(?i)nan"
EDITS = {
    "kernel.py": [
        (
            "    sig = tl.sigmoid(gate)\n",
            "    dy = tl.where(dy == dy, dy, 0.0)\n    sig = tl.sigmoid(gate)\n",
        ),
    ]
}
