"""Keeps the partial sums of the weight's gradient in float16."""

BASE = "rms_norm"
REJECTED_BY = "backward"
SAYS = r"dweight"
EDITS = {
    "kernel.py": [
        (
            "            tl.sum(dweight, axis=0, keep_dims=True),\n",
            "            tl.sum(dweight, axis=0, keep_dims=True).to(tl.float16).to(tl.float32),\n",
        ),
    ]
}
