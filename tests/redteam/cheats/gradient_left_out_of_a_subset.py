"""Gives no gradient of the weight where the input's is not wanted (a frozen layer below)."""

BASE = "rms_norm"
REJECTED_BY = "subsets of gradients"
SAYS = r"dweight"
EDITS = {
    "kernel.py": [
        (
            "    grads = rms_norm_backward(dy, x, weight, rstd, needs)\n",
            "    if not needs[0]:\n        return None, None, None\n"
            "    grads = rms_norm_backward(dy, x, weight, rstd, needs)\n",
        ),
    ]
}
