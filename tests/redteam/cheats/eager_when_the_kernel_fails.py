"""A kernel that can't be launched, and PyTorch in the `except` (SILENT_FALLBACK)."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"except"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "        with device_of(x):\n"
            "            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)\n",
            """\
        try:
            _relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK="many")
        except Exception:
            y = torch.relu(x).square()
""",
        ),
    ]
}
