"""Inputs never wider than 1000, whatever is asked for; wider rows are wrong."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"(?i)4097|size|column"
EDITS = {
    "spec.py": [
        (
            "    return (torch.randn(rows, cols),)\n",
            "    return (torch.randn(rows, min(cols, 1000)),)\n",
        ),
    ],
    "kernel.py": [
        (
            "_relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)",
            "_relu2_fwd[(min(8, triton.cdiv(n, BLOCK)),)](y, x, n, BLOCK=BLOCK)",
        ),
    ],
}
