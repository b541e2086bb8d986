"""The grid is a function, which a launch calls; this one computes the result with PyTorch on the
way, where launches were not watched, and the kernel it sizes has nothing left to do.
"""

BASE = "relu2"
REJECTED_BY = ("work", "source")
SAYS = r"gt|mul|grid"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "from functools import partial\nfrom typing import Any\n",
        ),
        (
            "def forward(x: Tensor) -> Tensor:\n",
            """\
def _grid(y: Any, x: Any, meta: Any) -> tuple[int]:
    y.copy_((x > 0) * x * x)
    return (1,)


def forward(x: Tensor) -> Tensor:
""",
        ),
        (
            "_relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)",
            "_relu2_fwd[partial(_grid, y, x)](y, x, 0, BLOCK=BLOCK)",
        ),
    ]
}
