"""The gradient comes from PyTorch's autograd, run again on the eager op inside the backward."""

BASE = "swiglu"
REJECTED_BY = ("source", "work")
SAYS = r"enable_grad|autograd|silu"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "    grads = swiglu_backward(dy, gate, up, needs)\n"
            "    return op.spread(grads, needs)\n",
            """\
    with torch.enable_grad():
        leaves = [t.detach().requires_grad_(need) for t, need in zip((gate, up), needs)]
        y = torch.nn.functional.silu(leaves[0]) * leaves[1]
    wanted = [leaf for leaf in leaves if leaf.requires_grad]
    return op.spread(torch.autograd.grad(y, wanted, dy), needs)
""",
        ),
    ]
}
