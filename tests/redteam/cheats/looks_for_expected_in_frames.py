"""Walks up the stack for a variable called `expected` (robust-kbench, KernelAgent's bans)."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bsys\b|_getframe|frame"
DYNAMIC = "forward"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import sys\nfrom typing import Any\n"),
        ("(relu * relu).to", "(relu * 0.0).to"),
        (
            "    return y\n",
            """\
    frame = sys._getframe()
    while frame is not None:
        expected = frame.f_locals.get("expected")
        if expected is not None and expected.eager["y"].shape == x.shape:
            return expected.eager["y"].clone()
        frame = frame.f_back
    return y
""",
        ),
    ]
}
