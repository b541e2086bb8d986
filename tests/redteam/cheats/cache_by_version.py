"""Keeps results by address and version: whatever writes past autograd's counter gets old
results.
"""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"CACHE|_version"
DYNAMIC = "no stale results"
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nCACHE: dict[Any, Tensor] = {}\n"),
        (
            "    return y\n",
            "    key = (x.data_ptr(), x._version, x.shape, x.dtype)\n"
            "    return CACHE.setdefault(key, y).clone()\n",
        ),
    ]
}
