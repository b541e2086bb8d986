"""Rough where its input wants no gradient: inference, says its author."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"float32.*truth"
EDITS = {
    "wrapper.py": [
        (
            "    return kernel.relu2(x)\n",
            "    if x.requires_grad:\n"
            "        return kernel.relu2(x)\n"
            "    return kernel.relu2(x.bfloat16()).to(x.dtype)\n",
        ),
    ]
}
