"""A real kernel forwards; the gradient is PyTorch's, in the function that autograd calls."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"(?i)relu|clamp|\*|mul|kernel"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "    return op.spread(relu2_backward(dy, x, needs), needs)\n",
            "    return op.spread([dy * (2 * torch.relu(x))], needs)\n",
        ),
    ]
}
