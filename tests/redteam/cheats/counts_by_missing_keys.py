"""Counts its calls by a dictionary that grows when it is read."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"grows when it is read"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "from collections import defaultdict\nfrom typing import Any\n",
        ),
        ("BLOCK = 2048\n", "BLOCK = 2048\nCALLS: defaultdict[int, int] = defaultdict(int)\n"),
        (
            "    return y\n",
            "    number = CALLS[len(CALLS)] + len(CALLS)\n"
            "    return y if number < 5000 else y.zero_()\n",
        ),
    ]
}
