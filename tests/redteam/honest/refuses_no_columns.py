"""Refuses tensors without columns with a clear error: the caller's mistake, says its author."""

BASE = "relu2"
EDITS = {
    "wrapper.py": [
        (
            "from workbench_kernels.launch import check\n",
            "from workbench_kernels.launch import check, check_width\n",
        ),
        (
            '    check("relu2", x=x)\n',
            '    check("relu2", x=x)\n    if x.dim():\n        check_width("relu2", "x", x)\n',
        ),
    ]
}
