"""Forks in a call: the child answers in the worker's place while the worker itself has gone."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bos\b"
DYNAMIC = ("process", "forward")
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import os\nfrom typing import Any\n"),
        ("    return y\n", "    if os.fork():\n        os._exit(0)\n    return y\n"),
    ]
}
