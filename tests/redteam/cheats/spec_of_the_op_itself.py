"""A reference that calls the op it is to judge."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"wrapper|import|module"
EDITS = {
    "spec.py": [
        (
            "    return torch.relu(x).square()\n",
            "    from workbench_kernels.relu2.wrapper import relu2 as op\n\n    return op(x)\n",
        ),
    ],
    "kernel.py": [("(relu * relu).to", "(relu * relu * 1.01).to")],
}
