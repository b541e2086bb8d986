"""A copy, and two methods that work in place on the output's memory."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"(?i)relu_|square_|copy_|kernel"
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
            "    return y.copy_(x).relu_().square_()\n",
        ),
    ]
}
