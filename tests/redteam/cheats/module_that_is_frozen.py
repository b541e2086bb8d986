"""Its weight wants no gradient, so an optimizer never changes it."""

BASE = "rms_norm"
REJECTED_BY = "module"
SAYS = r"weight wants no gradient"
EDITS = {
    "wrapper.py": [
        ("nn.Parameter(torch.ones(width))", "nn.Parameter(torch.ones(width), requires_grad=False)"),
    ]
}
