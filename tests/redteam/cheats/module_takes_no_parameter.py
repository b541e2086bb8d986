"""The module has no way to set eps."""

BASE = "rms_norm"
REJECTED_BY = "module"
SAYS = r"unexpected keyword argument 'eps'"
EDITS = {
    "wrapper.py": [
        (
            "    def __init__(self, width: int, eps: float = 1e-06) -> None:",
            "    def __init__(self, width: int) -> None:",
        ),
        ("        self.eps = eps\n", "        self.eps = 1e-06\n"),
    ],
}
