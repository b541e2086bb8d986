"""Keeps gradients by the address of the input, and forgets that another gradient may come back."""

BASE = "relu2"
REJECTED_BY = ("source", "no stale results", "upstream gradients")
SAYS = r"CACHE|truth"
DYNAMIC = ("no stale results", "upstream gradients", "backward")
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nCACHE: dict[Any, Tensor] = {}\n"),
        (
            "    return [grad for grad in (dx,) if grad is not None]\n",
            """\
    if dx is None:
        return []
    return [CACHE.setdefault((x.data_ptr(), x.shape, x.dtype), dx).clone()]
""",
        ),
    ]
}
