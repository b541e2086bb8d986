"""One trivial kernel is launched on one element; PyTorch does the rest."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"(?i)relu|square|kernel"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        ("    y = torch.empty_like(x)\n", "    y = torch.relu(x).square()\n"),
        ("_relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK", "_relu2_fwd[(1,)](y, x, 1, BLOCK"),
    ]
}
