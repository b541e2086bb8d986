"""A gradient of its gradient is given, and is zero where it is not."""

BASE = "relu2"
REJECTED_BY = "second derivative"
SAYS = r"derivative|truth|zero"
EDITS = {
    "kernel.py": [
        (
            "    return op.spread(relu2_backward(dy, x, needs), needs)\n",
            "    return op.spread(relu2_backward(dy.detach(), x.detach(), needs), needs)\n",
        ),
    ]
}
