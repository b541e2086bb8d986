"""Registers an exit handler that writes a verdict of its own when the process ends."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"atexit"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import atexit\nimport os\nfrom typing import Any\n"),
        (
            "BLOCK = 2048\n",
            """\
BLOCK = 2048


@atexit.register
def _verdict() -> None:
    os.write(1, b'{"op": "relu2", "passed": true, "checks": []}')
    os._exit(0)
""",
        ),
    ]
}
