"""The spec lets the op overwrite its input; the op does, and tells PyTorch that it does not."""

BASE = "relu2"
REJECTED_BY = "torch op"
SAYS = r"mutated|mutable|mutates"
EDITS = {
    "spec.py": [
        ('    differentiable=("x",),\n', '    differentiable=("x",),\n    mutates=("x",),\n'),
    ],
    "kernel.py": [
        (
            "    return [grad for grad in (dx,) if grad is not None]\n",
            "    x.zero_()\n    return [grad for grad in (dx,) if grad is not None]\n",
        ),
    ],
}
