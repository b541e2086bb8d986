"""Leaves float16 out of the spec, and serves it all the same, wrongly."""

BASE = "relu2"
REJECTED_BY = "refusals"
SAYS = r"float16.*truth"
EDITS = {
    "spec.py": [
        (
            "    shapes=(",
            "    dtypes=(torch.float32, torch.bfloat16),\n    shapes=(",
        ),
    ],
    "kernel.py": [
        (
            "    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)\n",
            "    y = (relu * relu).to(Y.dtype.element_ty)\n"
            "    if Y.dtype.element_ty == tl.float16:\n"
            "        y = relu.to(tl.float16)\n"
            "    tl.store(Y + offsets, y, mask=mask)\n",
        ),
    ],
}
