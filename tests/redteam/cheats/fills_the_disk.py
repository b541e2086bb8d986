"""Writes to its temporary folder until there is no room."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"tempfile|open|write"
DYNAMIC = ("process", "forward")
TIMEOUT = 90
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import tempfile\nfrom typing import Any\n"),
        (
            "    return y\n",
            """\
    with tempfile.NamedTemporaryFile(delete=False) as file:
        while True:
            file.write(bytes(16 << 20))
""",
        ),
    ]
}
