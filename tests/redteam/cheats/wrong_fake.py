"""Tells the compiler another shape than it returns."""

BASE = "relu2"
REJECTED_BY = ("torch op", "torch.compile")
SAYS = r"(?i)shape|size|fake|meta|stride"
DYNAMIC = "torch op"
EDITS = {
    "kernel.py": [
        (
            "def _forward_fake(x: Tensor) -> Tensor:\n"
            "    return torch.empty_like(x, memory_format=torch.contiguous_format)\n",
            "def _forward_fake(x: Tensor) -> Tensor:\n    return x.new_empty(x.numel())\n",
        ),
    ]
}
