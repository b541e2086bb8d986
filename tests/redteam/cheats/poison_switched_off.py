"""Switches off the filling of fresh memory with NaN, and leaves elements unwritten."""

BASE = "relu2"
REJECTED_BY = ("source", "poisoned memory", "forward")
SAYS = r"deterministic|fill_uninitialized_memory|truth"
DYNAMIC = ("poisoned memory", "forward", "process")
EDITS = {
    "kernel.py": [
        (
            "    y = torch.empty_like(x)\n",
            "    torch.utils.deterministic.fill_uninitialized_memory = False\n"
            "    torch.use_deterministic_algorithms(False)\n"
            "    y = torch.empty_like(x)\n",
        ),
        (
            "    mask = offsets < n\n"
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store",
            "    mask = offsets < n - 1\n"
            "    x = tl.load(X + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "    relu = tl.where(x < 0.0, 0.0, x)\n    tl.store",
        ),
    ]
}
