"""Installs a package at run time and uses what it brings (RUNTIME_PACKAGE_INSTALL)."""

BASE = "relu2"
REJECTED_BY = ("source", "imports")
SAYS = r"subprocess|\bsys\b|pip"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import subprocess\nimport sys\nfrom typing import Any\n"),
        (
            "BLOCK = 2048\n",
            "BLOCK = 2048\n"
            'subprocess.run([sys.executable, "-m", "pip", "--quiet", "install", '
            '"./no-such-package"])\n',
        ),
    ]
}
