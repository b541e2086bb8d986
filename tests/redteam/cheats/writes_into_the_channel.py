"""Computes rightly, and sends noise down every descriptor it inherited before it answers."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bos\b|contextlib"
DYNAMIC = ("process", "forward", "imports")
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import contextlib\nimport os\nfrom typing import Any\n"),
        (
            "    return y\n",
            """\
    for descriptor in range(3, 256):
        with contextlib.suppress(OSError):
            os.write(descriptor, bytes(64))
    return y
""",
        ),
    ]
}
