"""Right for the first seconds after its import, and rough from then on."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\btime\b"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import time\nfrom typing import Any\n"),
        ("BLOCK = 2048\n", "BLOCK = 2048\nSTART = time.monotonic()\n"),
        (
            "    return y\n",
            "    return y if time.monotonic() < START + 30 else y.bfloat16().to(y)\n",
        ),
    ]
}
