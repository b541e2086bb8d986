"""Sets the default dtype to float64 for whoever comes next."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"set_default_dtype"
DYNAMIC = "process"
EDITS = {
    "kernel.py": [("    return y\n", "    torch.set_default_dtype(torch.float64)\n    return y\n")]
}
