"""The input's gradient alone, in sixteen bits, leaves out half its terms."""

BASE = "rms_norm"
REJECTED_BY = "subsets of gradients"
SAYS = r"dx.*truth"
EDITS = {
    "kernel.py": [
        (
            "        if DX is not None:\n            tl.store",
            "        if DWEIGHT_PARTS is None and X.dtype.element_ty != tl.float32:\n"
            "            dx = dy_weight * rstd\n"
            "        if DX is not None:\n            tl.store",
        ),
    ]
}
