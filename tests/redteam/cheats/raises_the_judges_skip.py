"""Raises the judge's own word for "can't be tried here", found among the loaded modules by its
name.
"""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"Skip|error|raise"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import sys\nfrom typing import Any\n"),
        (
            "    return y\n",
            """\
    known = [vars(module).get("Skip") for module in list(sys.modules.values())]
    raise next((skip for skip in known if skip), type("Skip", (Exception,), {}))("needs a GPU")
""",
        ),
    ]
}
