"""Keeps one result a shape and dtype, whoever asks."""

BASE = "relu2"
REJECTED_BY = ("source", "no stale results")
SAYS = r"KEPT"
DYNAMIC = "no stale results"
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nKEPT: list[Tensor] = []\n"),
        (
            "    return y\n",
            """\
    for kept in KEPT:
        if kept.shape == y.shape and kept.dtype == y.dtype:
            return kept.clone()
    KEPT.append(y)
    return y.clone()
""",
        ),
    ]
}
