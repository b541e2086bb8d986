"""States the rounding to 16 bits, to nearest, instead of leaving it to the cast."""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        (
            "    tl.store(Y + offsets, y.to(Y.dtype.element_ty), mask=mask)\n",
            "    if Y.dtype.element_ty != tl.float32:\n"
            '        y = y.to(Y.dtype.element_ty, fp_downcast_rounding="rtne")\n'
            "    tl.store(Y + offsets, y, mask=mask)\n",
        ),
    ]
}
