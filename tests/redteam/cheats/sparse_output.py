"""Returns a sparse tensor: half of the values are zero, after all."""

BASE = "relu2"
REJECTED_BY = ("forward", "form of outputs")
SAYS = r"(?i)sparse|strided|layout|storage|contiguous|error"
EDITS = {
    "wrapper.py": [("    return kernel.relu2(x)\n", "    return kernel.relu2(x).to_sparse()\n")]
}
