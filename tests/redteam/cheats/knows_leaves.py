"""Tells a test from training by `x.is_leaf`: what comes from another layer gets a rough answer."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"x\.is_leaf goes around autograd"
DYNAMIC = "backward"
EDITS = {
    "wrapper.py": [
        (
            "    return kernel.relu2(x)\n",
            "    if not x.is_leaf:\n        return kernel.relu2(x.bfloat16()).to(x.dtype)\n"
            "    return kernel.relu2(x)\n",
        ),
    ]
}
