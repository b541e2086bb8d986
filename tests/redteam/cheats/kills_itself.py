"""Kills its own process in a call."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bos\b|signal"
DYNAMIC = "process"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import os\nimport signal\nfrom typing import Any\n"),
        ("    return y\n", "    os.kill(os.getpid(), signal.SIGKILL)\n    return y\n"),
    ]
}
