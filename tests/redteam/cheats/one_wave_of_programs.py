"""As many programs as an H100 runs at once, and no loop: what is behind them is never written."""

BASE = "relu2"
REJECTED_BY = "unseen shapes"
SAYS = r"37x8200-float32: (dx|y) at"
EDITS = {
    "kernel.py": [
        ("_relu2_fwd[(triton.cdiv(n, BLOCK),)]", "_relu2_fwd[(min(triton.cdiv(n, BLOCK), 132),)]"),
    ]
}
