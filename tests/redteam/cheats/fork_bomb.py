"""Forks without end; every child sleeps until somebody ends it."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bos\b|\btime\b"
DYNAMIC = ("process", "forward")
TIMEOUT = 90
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import os\nimport time\nfrom typing import Any\n"),
        (
            "    return y\n",
            "    for _ in range(100_000):\n"
            "        if os.fork() == 0:\n"
            "            time.sleep(864213)\n"
            "    return y\n",
        ),
    ]
}
