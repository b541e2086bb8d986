"""Fills memory until there is none: the kernel's killer, or a limit, must be named."""

BASE = "relu2"
REJECTED_BY = "process"
SAYS = r"(?i)memory|killed"
TIMEOUT = 90
EDITS = {
    "kernel.py": [
        (
            "    return y\n",
            "    hoard = []\n    while True:\n        hoard.append(b'x' * (64 << 20))\n",
        ),
    ]
}
