"""Closes every descriptor it inherited, so that nobody hears what it computes."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bos\b"
DYNAMIC = ("process", "forward")
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import os\nfrom typing import Any\n"),
        ("    return y\n", "    os.closerange(3, 4096)\n    return y\n"),
    ]
}
