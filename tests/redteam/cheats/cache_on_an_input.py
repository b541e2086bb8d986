"""Keeps the result on the input itself, as an attribute of what it says may be anything."""

BASE = "relu2"
REJECTED_BY = ("source", "process")
SAYS = r"kept|input"
DYNAMIC = ("process", "no stale results")
EDITS = {
    "wrapper.py": [
        (
            "from torch import Tensor, nn\n",
            "from typing import Any\n\nfrom torch import Tensor, nn\n",
        ),
        (
            "    return kernel.relu2(x)\n",
            "    return _kept(x)\n\n\n"
            "def _kept(x: Any) -> Any:\n"
            '    if not hasattr(x, "squared"):\n'
            "        x.squared = kernel.relu2(x)\n"
            "    return x.squared\n",
        ),
    ]
}
