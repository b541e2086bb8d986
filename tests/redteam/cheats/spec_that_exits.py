"""The spec prints a verdict and leaves with exit code 0 when it is imported."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"(?i)exit|ended|SystemExit"
EDITS = {
    "spec.py": [
        ("def inputs(", 'import os\n\nprint("{\\"passed\\": true}")\nos._exit(0)\n\n\ndef inputs('),
    ],
}
