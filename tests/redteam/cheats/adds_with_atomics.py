"""Adds up the weight's gradient with atomics, in whatever order programs come."""

BASE = "rms_norm"
REJECTED_BY = "repeatable"
SAYS = r"dweight differs from call to call"
EDITS = {
    "kernel.py": [
        (
            "            DWEIGHT_PARTS + tl.program_id(0) * n_cols + cols,\n",
            "            DWEIGHT_PARTS + cols,\n",
        ),
        (
            "        tl.store(\n            DWEIGHT_PARTS",
            "        tl.atomic_add(\n            DWEIGHT_PARTS",
        ),
        (
            "x.new_empty((grid[0], n_cols), dtype=torch.float32) if",
            "x.new_zeros((1, n_cols), dtype=torch.float32) if",
        ),
    ]
}
