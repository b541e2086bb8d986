"""Tells the compiler that results lie as the inputs do, which holds for contiguous ones alone."""

BASE = "relu2"
REJECTED_BY = "torch op"
SAYS = r"(?i)stride"
EDITS = {
    "kernel.py": [
        (
            "def _forward_fake(x: Tensor) -> Tensor:\n"
            "    return torch.empty_like(x, memory_format=torch.contiguous_format)\n",
            "def _forward_fake(x: Tensor) -> Tensor:\n    return torch.empty_like(x)\n",
        ),
    ]
}
