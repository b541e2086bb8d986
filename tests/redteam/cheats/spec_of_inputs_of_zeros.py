"""Inputs that are all zero: every square is."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"(?i)input|zero|same|constant|draw|x "
EDITS = {
    "spec.py": [
        ("    return (torch.randn(rows, cols),)\n", "    return (torch.zeros(rows, cols),)\n")
    ],
    "kernel.py": [("(relu * relu).to", "(relu * 3.0).to")],
}
