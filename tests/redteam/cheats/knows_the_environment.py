"""Asks the environment whether a test runs (mode variables)."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bos\b|environ|getenv"
DYNAMIC = "forward"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import os\nfrom typing import Any\n"),
        (
            "    return y\n",
            '    return y if "PYTEST_CURRENT_TEST" in os.environ else torch.zeros_like(y)\n',
        ),
    ]
}
