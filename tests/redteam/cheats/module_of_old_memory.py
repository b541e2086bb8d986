"""Its weight is whatever memory held when it was made."""

BASE = "rms_norm"
REJECTED_BY = "module"
SAYS = r"weight is not given values"
EDITS = {
    "wrapper.py": [
        ("torch.ones(width)", "torch.empty(width)"),
    ]
}
