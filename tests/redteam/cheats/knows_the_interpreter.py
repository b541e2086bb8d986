"""Asks whether it runs in the interpreter, and does something else there."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"relu|square|interpreted"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "from workbench_kernels.launch import device_of\n",
            "from workbench_kernels.launch import device_of, interpreted\n",
        ),
        ("    return y\n", "    return torch.relu(x).square() if interpreted() else y\n"),
    ]
}
