"""Reads address 0."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"ctypes"
DYNAMIC = "process"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import ctypes\nfrom typing import Any\n"),
        ("    return y\n", "    ctypes.string_at(0)\n    return y\n"),
    ]
}
