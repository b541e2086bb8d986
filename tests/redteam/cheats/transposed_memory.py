"""Right values in a transposed layout, which the next kernel does not expect."""

BASE = "relu2"
REJECTED_BY = "form of outputs"
SAYS = r"strided"
EDITS = {
    "wrapper.py": [
        ("    return kernel.relu2(x)\n", "    return kernel.relu2(x).mT.contiguous().mT\n"),
    ]
}
