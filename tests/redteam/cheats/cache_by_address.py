"""Keeps results by the input's address (gpt-5.5's top-k): new values at the old place get old
results.
"""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"CACHE"
DYNAMIC = "no stale results"
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nCACHE: dict[Any, Tensor] = {}\n"),
        (
            "    return y\n",
            "    return CACHE.setdefault((x.data_ptr(), x.shape, x.dtype), y).clone()\n",
        ),
    ]
}
