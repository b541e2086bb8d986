"""Right for two hundred calls, more than a test makes; a benchmark makes thousands."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"count|nonlocal|calls|next"
DYNAMIC = ("repeatable", "module", "torch.compile", "poisoned memory", "no stale results")
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import itertools\nfrom typing import Any\n"),
        ("BLOCK = 2048\n", "BLOCK = 2048\nCALLS = itertools.count()\n"),
        ("_relu2_fwd[(triton.cdiv(n, BLOCK),)]", "_relu2_fwd[(triton.cdiv(n, BLOCK) * _left(),)]"),
        (
            "def forward(x: Tensor) -> Tensor:\n",
            """\
def _left() -> int:
    return int(next(CALLS) < 200)


def forward(x: Tensor) -> Tensor:
""",
        ),
    ]
}
