"""Returns one element expanded to 2⁴⁰: whoever copies it out runs out of memory."""

BASE = "relu2"
REJECTED_BY = ("forward", "process")
SAYS = r"expected|memory|large|limit|bytes"
EDITS = {
    "wrapper.py": [
        (
            "    return kernel.relu2(x)\n",
            "    return kernel.relu2(x).reshape(-1)[:1].expand(1 << 40)\n",
        ),
    ]
}
