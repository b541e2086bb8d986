"""Converts the weight to float32 once and keeps it: an optimizer's step is never seen
(FlashInfer's contest).
"""

BASE = "rms_norm"
REJECTED_BY = ("source", "no stale results")
SAYS = r"PREPARED"
DYNAMIC = "no stale results"
EDITS = {
    "kernel.py": [
        (
            "def forward(x: Tensor, weight: Tensor, eps: float)",
            """\
PREPARED: dict[Any, Tensor] = {}


def _prepared(weight: Tensor) -> Tensor:
    key = (weight.data_ptr(), weight.shape, weight.dtype)
    if key not in PREPARED:
        PREPARED[key] = weight.detach().clone()
    return PREPARED[key]


def forward(x: Tensor, weight: Tensor, eps: float)""",
        ),
        (
            "    x, weight = x.contiguous(), weight.contiguous()\n    n_cols = x.shape[-1]\n"
            "    n_rows = x.numel() // n_cols\n    y = ",
            "    x, weight = x.contiguous(), _prepared(weight.contiguous())\n"
            "    n_cols = x.shape[-1]\n"
            "    n_rows = x.numel() // n_cols\n    y = ",
        ),
    ]
}
