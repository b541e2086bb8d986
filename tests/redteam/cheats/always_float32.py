"""Returns float32 whatever it is given: half the error, twice the memory."""

BASE = "relu2"
REJECTED_BY = ("forward", "form of outputs")
SAYS = r"float32"
EDITS = {
    "kernel.py": [
        ("    y = torch.empty_like(x)\n", "    y = torch.empty_like(x, dtype=torch.float32)\n"),
        (
            "def _forward_fake(x: Tensor) -> Tensor:\n"
            "    return torch.empty_like(x, memory_format=torch.contiguous_format)\n",
            "def _forward_fake(x: Tensor) -> Tensor:\n"
            "    return torch.empty_like(\n"
            "        x, dtype=torch.float32, memory_format=torch.contiguous_format\n"
            "    )\n",
        ),
    ]
}
