"""A kernel that works, with PyTorch in an `except` that is never reached here."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"except"
EDITS = {
    "kernel.py": [
        (
            "        with device_of(x):\n"
            "            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)\n",
            """\
        try:
            with device_of(x):
                _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)
        except RuntimeError:
            y = torch.relu(x).square()
""",
        ),
    ]
}
