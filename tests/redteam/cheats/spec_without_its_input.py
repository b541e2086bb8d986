"""A reference whose values don't depend on its input's."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"(?i)zero|constant|depend|same|nothing|gradient"
EDITS = {
    "spec.py": [
        ("    return torch.relu(x).square()\n", "    return torch.ones_like(x) + 0 * x.detach()\n")
    ],
    "kernel.py": [
        ("(relu * relu).to", "(relu * 0.0 + 1.0).to"),
        ("dx = dy * (2.0 * relu)", "dx = dy * 0.0"),
    ],
}
