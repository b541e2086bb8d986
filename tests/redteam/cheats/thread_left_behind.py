"""Starts a thread that goes on working after the call (SOL-ExecBench counts threads; KernelBench
bans them).
"""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"threading"
DYNAMIC = "process"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import threading\nfrom typing import Any\n"),
        (
            "    return y\n",
            "    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
            "    return y\n",
        ),
    ]
}
