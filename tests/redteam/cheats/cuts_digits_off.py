"""Rounds to 16 bits towards zero, so that what is added up over a network shrinks."""

BASE = "relu2"
REJECTED_BY = ("forward", "unseen shapes")
SAYS = r"bfloat16: y is rounded to one side"
EDITS = {
    "kernel.py": [
        (
            "    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)\n",
            "    y = relu * relu\n"
            "    if Y.dtype.element_ty == tl.bfloat16:\n"
            '        y = y.to(tl.bfloat16, fp_downcast_rounding="rtz")\n'
            "    tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)\n",
        ),
    ]
}
