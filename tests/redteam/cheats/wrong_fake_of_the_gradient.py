"""Tells the compiler another dtype of its gradient than it returns."""

BASE = "relu2"
REJECTED_BY = ("torch op", "torch.compile")
SAYS = r"(?i)dtype|float"
DYNAMIC = "torch op"
EDITS = {
    "kernel.py": [
        (
            "        torch.empty_like(t, memory_format=torch.contiguous_format)\n"
            "        for t, need",
            "        torch.empty_like(t, dtype=torch.float64, "
            "memory_format=torch.contiguous_format)\n"
            "        for t, need",
        ),
    ]
}
