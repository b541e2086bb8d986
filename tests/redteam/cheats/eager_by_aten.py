"""Registered as an op of its own, which calls PyTorch's ops by their inner names."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"torch\.ops|aten"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            """\
    n = x.numel()
    if n:
        with device_of(x):
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)
    return y
""",
            "    return torch.ops.aten.pow(torch.ops.aten.relu(x), 2)\n",
        ),
    ]
}
