"""Writes every gradient of a shape into the same memory: two layers share one gradient."""

BASE = "swiglu"
REJECTED_BY = ("source", "no stale results")
SAYS = r"BUFFERS|overwritten"
DYNAMIC = "no stale results"
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nBUFFERS: dict[Any, Tensor] = {}\n"),
        (
            "    dup = torch.empty_like(gate, memory_format=torch.contiguous_format) if needs[1] "
            "else None\n",
            "    dup = BUFFERS.setdefault((gate.shape, gate.dtype), torch.empty_like(gate))\n"
            "    dup = dup if needs[1] else None\n",
        ),
    ]
}
