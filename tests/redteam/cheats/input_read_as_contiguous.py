"""Reads its input as if it were contiguous."""

BASE = "relu2"
REJECTED_BY = ("layouts", "poisoned memory")
SAYS = r"truth"
DYNAMIC = "layouts"
EDITS = {
    "kernel.py": [
        (
            "    x = x.contiguous()\n    y = torch.empty_like(x)\n",
            "    y = torch.empty_like(x, memory_format=torch.contiguous_format)\n",
        ),
    ]
}
