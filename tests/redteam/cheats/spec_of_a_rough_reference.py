"""A reference that loses digits on purpose: "as near as eager" then allows anything."""

BASE = "relu2"
REJECTED_BY = ("spec", "forward")
SAYS = r"(?i)error|precis|rough|digits|far|truth|eager"
EDITS = {
    "spec.py": [
        (
            "    return torch.relu(x).square()\n",
            "    return torch.relu((x + 3e4) - 3e4).square()\n",
        ),
    ],
    "kernel.py": [("(relu * relu).to", "(relu * relu * 1.001).to")],
}
