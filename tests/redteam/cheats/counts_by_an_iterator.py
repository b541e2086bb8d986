"""Counts its calls by what is left of an iterator, and drifts after thousands."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"further on in every call"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "from collections.abc import Iterator\nfrom typing import Any\n",
        ),
        ("BLOCK = 2048\n", "BLOCK = 2048\nCALLS: Iterator[int] = iter(range(1 << 40))\n"),
        (
            "    return y\n",
            "    (number,) = (n for _, n in zip(range(1), CALLS, strict=False))\n"
            "    return y if number < 5000 else y.zero_()\n",
        ),
    ]
}
