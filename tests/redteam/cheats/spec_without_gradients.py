"""Says that the reference has no gradient, where it has one; the op has none either."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"(?i)differentiable|gradient"
EDITS = {
    "spec.py": [('    differentiable=("x",),\n', "    differentiable=(),\n")],
    "kernel.py": [
        ("    return op.spread(relu2_backward(dy, x, needs), needs)\n", "    return (None,)\n"),
    ],
}
