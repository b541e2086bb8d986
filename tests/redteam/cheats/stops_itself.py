"""Stops its process: it is neither running nor ended."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bos\b|signal"
DYNAMIC = "process"
TIMEOUT = 60
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import os\nimport signal\nfrom typing import Any\n"),
        ("    return y\n", "    os.kill(os.getpid(), signal.SIGSTOP)\n    return y\n"),
    ]
}
