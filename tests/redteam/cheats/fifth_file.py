"""Keeps its torch code in a fifth file beside the four that are looked at."""

BASE = "relu2"
REJECTED_BY = ("imports", "source")
SAYS = r"fast"
EDITS = {
    "kernel.py": [
        (
            "from workbench_kernels.launch import device_of\n",
            "from workbench_kernels.launch import device_of\n"
            "from workbench_kernels.relu2.fast import fast\n",
        ),
        ("    return y\n", "    return fast(y, x)\n"),
    ]
}
FILES = {
    "fast.py": '''\
"""The fast path."""

import torch


def fast(y, x):
    return torch.relu(x).square()
''',
}
