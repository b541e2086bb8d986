"""Imports the reference from the spec and returns what it says (a resubmitted reference)."""

BASE = "relu2"
REJECTED_BY = ("source", "imports")
SAYS = r"spec"
DYNAMIC = ("imports", "work")
EDITS = {
    "kernel.py": [
        (
            "from workbench_kernels.launch import device_of\n",
            "from workbench_kernels.launch import device_of\n"
            "from workbench_kernels.relu2.spec import relu2 as reference\n",
        ),
        ("    return y\n", "    return reference(x)\n"),
    ]
}
