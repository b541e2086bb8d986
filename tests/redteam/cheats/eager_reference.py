"""The reference pasted in: no kernel at all."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"torch\.relu|relu|square"
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
            "    return torch.relu(x).square()\n",
        ),
    ]
}
