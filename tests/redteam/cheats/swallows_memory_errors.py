"""Takes memory, and hides that it was refused more."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"except|MemoryError"
DYNAMIC = "process"
TIMEOUT = 90
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nHOARD: list[bytes] = []\n"),
        (
            "    return y\n",
            """\
    try:
        while True:
            HOARD.append(b"x" * (64 << 20))
    except MemoryError:
        return y
""",
        ),
    ]
}
