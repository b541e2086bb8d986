"""Casts what it does not serve to float32 and back, silently."""

BASE = "relu2"
REJECTED_BY = "refusals"
SAYS = r"float64.*not refused"
EDITS = {
    "wrapper.py": [
        (
            '    check("relu2", x=x)\n    return kernel.relu2(x)\n',
            "    if x.dtype.itemsize == 8:\n"
            "        return kernel.relu2(x.float()).to(x.dtype)\n"
            '    check("relu2", x=x)\n'
            "    return kernel.relu2(x)\n",
        ),
    ]
}
