"""Above a size that nobody tries, PyTorch's product of two tensors that are the parts of a pair."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"starmap.*computes with tensors"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "from itertools import starmap\nfrom operator import mul\nfrom typing import Any\n",
        ),
        (
            "    x = x.contiguous()\n    y = torch",
            "    if x.numel() > 1 << 40:\n        return next(starmap(mul, [(x, x)]))\n"
            "    x = x.contiguous()\n    y = torch",
        ),
    ]
}
