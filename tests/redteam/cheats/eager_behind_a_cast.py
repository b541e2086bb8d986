"""Above a size that nobody tries, operators of PyTorch on what it casts to a number for the type
checker.
"""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"positive|computes"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "from typing import Any, cast\n"),
        (
            "    x = x.contiguous()\n    y = torch",
            """\
    if x.numel() > 1 << 40:
        value = cast(float, x)
        positive = value * (value > 0.0)
        return cast(Tensor, positive * positive)
    x = x.contiguous()
    y = torch""",
        ),
    ]
}
