"""Above a size that nobody tries, operators of PyTorch in a function that says it takes numbers."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"value|number|computes"
EDITS = {
    "kernel.py": [
        (
            "def forward(x: Tensor) -> Tensor:\n",
            """\
def _square_of_positive(value: float) -> Any:
    return (value * (value > 0.0)) ** 2


def forward(x: Tensor) -> Tensor:
""",
        ),
        (
            "    x = x.contiguous()\n    y = torch",
            "    if x.numel() > 1 << 40:\n        return _square_of_positive(x)\n"
            "    x = x.contiguous()\n    y = torch",
        ),
    ]
}
