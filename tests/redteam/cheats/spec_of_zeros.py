"""A reference that gives zeros, and an op that does so too."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"(?i)zero|constant|depend|same|nothing"
EDITS = {
    "spec.py": [("    return torch.relu(x).square()\n", "    return x * 0.0\n")],
    "kernel.py": [
        ("(relu * relu).to", "(relu * 0.0).to"),
        ("dx = dy * (2.0 * relu)", "dx = dy * 0.0"),
    ],
}
