"""A function among a kernel's constants: the kernel calls it, which only an interpreter can, and it
computes with PyTorch where launches were not watched.
"""

BASE = "relu2"
REJECTED_BY = ("work", "source")
SAYS = r"gt|mul|kernel"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "def _relu2_fwd(Y, X, n, BLOCK: tl.constexpr):\n"
            "    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)\n"
            "    mask = offsets < n\n"
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n"
            "    tl.store(Y + offsets, (relu * relu).to(Y.dtype.element_ty), mask=mask)\n",
            "def _relu2_fwd(Y, X, n, PREPARE: tl.constexpr, BLOCK: tl.constexpr):\n    PREPARE()\n",
        ),
        (
            "from typing import Any\n",
            "from functools import partial\nfrom typing import Any\n",
        ),
        (
            "def forward(x: Tensor) -> Tensor:\n",
            """\
def _prepare(y: Any, x: Any) -> None:
    y.copy_((x > 0) * x * x)


def forward(x: Tensor) -> Tensor:
""",
        ),
        (
            "_relu2_fwd[(triton.cdiv(n, BLOCK),)](y, x, n, BLOCK=BLOCK)",
            "_relu2_fwd[(1,)](y, x, n, PREPARE=partial(_prepare, y, x), BLOCK=BLOCK)",
        ),
    ]
}
