"""Transposes its input in place when it needs no gradient: its values are as before, its shape is
not.
"""

BASE = "relu2"
REJECTED_BY = ("process", "source")
SAYS = r"input|squeeze_"
DYNAMIC = ("process", "inputs unchanged")
EDITS = {
    "wrapper.py": [
        (
            "    return kernel.relu2(x)\n",
            "    shape = x.shape\n"
            "    if not x.requires_grad and x.dim() == 2:\n"
            "        x.transpose_(0, 1)\n"
            "        return kernel.relu2(x.mT.contiguous()).view(shape)\n"
            "    return kernel.relu2(x)\n",
        ),
    ]
}
