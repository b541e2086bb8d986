"""functools.cache with a key of its own making, equal to another that holds the same tensor: the
optimizer changes the values, the tensor stays the same.
"""

BASE = "rms_norm"
REJECTED_BY = ("source", "no stale results")
SAYS = r"cached|Weight|truth"
DYNAMIC = "no stale results"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "from functools import cache\nfrom typing import Any\n"),
        (
            "def forward(x: Tensor, weight: Tensor, eps: float)",
            """\
class Weight:
    \"\"\"A weight as the key of a cache.\"\"\"

    def __init__(self, weight: Tensor) -> None:
        self.weight = weight
        self.copy = weight.contiguous().clone()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Weight) and self.weight is other.weight

    def __hash__(self) -> int:
        return self.weight.numel()


@cache
def _known(weight: Weight) -> Weight:
    return weight


def forward(x: Tensor, weight: Tensor, eps: float)""",
        ),
        (
            "    x, weight = x.contiguous(), weight.contiguous()\n    n_cols = x.shape[-1]\n"
            "    n_rows = x.numel() // n_cols\n    y = ",
            "    x, weight = x.contiguous(), _known(Weight(weight)).copy\n"
            "    n_cols = x.shape[-1]\n"
            "    n_rows = x.numel() // n_cols\n    y = ",
        ),
    ]
}
