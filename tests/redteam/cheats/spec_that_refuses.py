"""A reference that refuses all but a few shapes, so that there is nothing to compare with
elsewhere.
"""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"(?i)refuse|shape|serve|reference|ValueError"
EDITS = {
    "spec.py": [
        (
            "    return torch.relu(x).square()\n",
            "    if x.numel() not in (1, 128, 3000, 12800, 28679):\n"
            '        raise ValueError("not served")\n'
            "    return torch.relu(x).square()\n",
        ),
    ],
}
