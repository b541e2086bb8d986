"""Has no backward: its gradient is None."""

BASE = "relu2"
REJECTED_BY = "backward"
SAYS = r"dx is missing"
EDITS = {
    "kernel.py": [
        ("    return op.spread(relu2_backward(dy, x, needs), needs)\n", "    return (None,)\n")
    ],
}
