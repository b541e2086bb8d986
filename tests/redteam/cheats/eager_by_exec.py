"""The same, as text that is decoded and run."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"exec|eval|base64"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import base64\nfrom typing import Any\n"),
        (
            "    return y\n",
            '    return eval(base64.b64decode(b"dG9yY2gucmVsdSh4KS5zcXVhcmUoKQ=="))\n',
        ),
    ]
}
