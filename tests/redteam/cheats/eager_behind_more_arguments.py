"""Above a size that nobody tries, operators of PyTorch in a function of any number of arguments."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"factors\[0\] \* factors\[1\] computes with the tensor"
EDITS = {
    "kernel.py": [
        (
            "def forward(x: Tensor) -> Tensor:\n",
            """\
def _product(*factors):
    return factors[0] * factors[1]


def forward(x: Tensor) -> Tensor:
""",
        ),
        (
            "    x = x.contiguous()\n    y = torch",
            "    if x.numel() > 1 << 40:\n        return _product(x, x)\n"
            "    x = x.contiguous()\n    y = torch",
        ),
    ]
}
