"""Serves the sizes in the spec, and refuses every other one with a clear ValueError."""

BASE = "relu2"
REJECTED_BY = "unseen shapes"
SAYS = r"ValueError"
EDITS = {
    "wrapper.py": [
        (
            '    check("relu2", x=x)\n',
            '    check("relu2", x=x)\n'
            "    if x.numel() not in (0, 1, 128, 3000, 12800, 28679):\n"
            '        raise ValueError(f"relu2: x has shape {tuple(x.shape)}, which is not '
            'served")\n',
        ),
    ]
}
