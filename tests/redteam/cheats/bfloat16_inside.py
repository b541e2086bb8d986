"""Computes in bfloat16 whatever it is given (PRECISION_DOWNGRADE; five models did so for fp8)."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"float32.*truth"
EDITS = {
    "kernel.py": [
        (
            "other=0.0).to(tl.float32)\n    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store",
            "other=0.0).to(tl.bfloat16).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store",
        ),
    ]
}
