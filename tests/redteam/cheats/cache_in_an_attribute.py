"""Keeps results by address in an attribute of its own function: there is no module-level cache to
see.
"""

BASE = "relu2"
REJECTED_BY = ("source", "no stale results")
SAYS = r"forward|kept|stale|truth|attribute"
DYNAMIC = "no stale results"
EDITS = {
    "kernel.py": [
        (
            "    return y\n",
            """\
    if not hasattr(forward, "kept"):
        forward.kept = {}
    return forward.kept.setdefault((x.data_ptr(), x.shape, x.dtype), y).clone()
""",
        ),
    ]
}
