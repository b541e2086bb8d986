"""Adds to `x.grad` itself and tells autograd that there is no gradient."""

BASE = "relu2"
REJECTED_BY = ("source", "backward")
SAYS = r"\.grad|dx is missing"
DYNAMIC = "backward"
EDITS = {
    "kernel.py": [
        (
            "    return op.spread(relu2_backward(dy, x, needs), needs)\n",
            "    x.grad = relu2_backward(dy, x, needs)[0]\n    return (None,)\n",
        ),
    ]
}
