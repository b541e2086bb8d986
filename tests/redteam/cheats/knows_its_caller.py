"""Looks up the stack for who calls (`inspect.stack()` for check.py), and cheats everybody else."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"inspect"
DYNAMIC = "forward"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import inspect\nfrom typing import Any\n"),
        (
            "    return y\n",
            '    known = any("pytest" in frame.filename for frame in inspect.stack())\n'
            "    return y if known else torch.zeros_like(y)\n",
        ),
    ]
}
