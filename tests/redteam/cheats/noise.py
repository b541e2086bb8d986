"""Adds a little noise, below any tolerance."""

BASE = "relu2"
REJECTED_BY = ("source", "repeatable")
SAYS = r"rand|differs from call to call"
DYNAMIC = ("repeatable", "work", "process")
EDITS = {
    "kernel.py": [
        (
            "    return y\n",
            "    return y.mul_(1 + 1e-8 * torch.rand_like(y, dtype=torch.float32))\n",
        ),
    ]
}
