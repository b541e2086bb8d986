"""Its weight is of another size than the function takes."""

BASE = "rms_norm"
REJECTED_BY = "module"
SAYS = r"weight is \(32,\), the function takes \(31,\)"
EDITS = {
    "wrapper.py": [
        ("torch.ones(width)", "torch.ones(width + 1)"),
    ]
}
