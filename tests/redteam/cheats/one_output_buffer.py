"""Writes every result of a shape into the same memory: the caller's earlier result changes."""

BASE = "relu2"
REJECTED_BY = ("source", "no stale results")
SAYS = r"BUFFERS|overwritten"
DYNAMIC = "no stale results"
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nBUFFERS: dict[Any, Tensor] = {}\n"),
        (
            "    y = torch.empty_like(x)\n",
            "    y = BUFFERS.setdefault((x.shape, x.dtype, x.device), torch.empty_like(x))\n",
        ),
    ]
}
