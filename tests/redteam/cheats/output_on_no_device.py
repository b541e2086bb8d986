"""Returns a tensor on the meta device: the right shape, and no data to be wrong."""

BASE = "relu2"
REJECTED_BY = ("forward", "form of outputs")
SAYS = r"(?i)meta|device|storage|data"
EDITS = {
    "wrapper.py": [("    return kernel.relu2(x)\n", '    return kernel.relu2(x).to("meta")\n')]
}
