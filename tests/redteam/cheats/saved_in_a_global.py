"""Hands its input to the backward through a global list: right until two calls are under way at
once.
"""

BASE = "relu2"
REJECTED_BY = ("source", "no stale results", "backward")
SAYS = r"SAVED|truth"
DYNAMIC = ("no stale results", "backward", "second derivative", "torch op")
EDITS = {
    "kernel.py": [
        ("BLOCK = 2048\n", "BLOCK = 2048\nSAVED: list[Tensor] = []\n"),
        ("    ctx.save_for_backward(x)\n", "    SAVED.append(x)\n"),
        ("    (x,) = ctx.saved_tensors\n", "    x = SAVED[-1]\n"),
    ]
}
