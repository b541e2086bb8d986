"""The work done by Python's operators on tensors: no function of torch is named."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"(?i)\* x|mul|kernel"
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
            "    return (x > 0) * x * x\n",
        ),
    ]
}
