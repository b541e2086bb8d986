"""Walks all objects of the process for what the judge expects, and returns that."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bgc\b"
DYNAMIC = "forward"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import gc\nfrom typing import Any\n"),
        ("(relu * relu).to", "(relu * 0.0).to"),
        (
            "    return y\n",
            """\
    for thing in gc.get_objects():
        if type(thing).__name__ == "Expected" and thing.eager["y"].shape == x.shape:
            y.copy_(thing.eager["y"])
    return y
""",
        ),
    ]
}
