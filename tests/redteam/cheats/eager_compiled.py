"""Leaves the kernel to torch.compile (TORCH_COMPILE_CACHE)."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"torch\.compile"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "BLOCK = 2048\n",
            "BLOCK = 2048\n"
            'COMPILED = torch.compile(lambda x: torch.relu(x).square(), backend="aot_eager")\n',
        ),
        ("    return y\n", "    return COMPILED(x)\n"),
    ]
}
