"""Answers every call with a polite ValueError, as if none of the inputs were ever served."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"ValueError"
EDITS = {
    "wrapper.py": [
        (
            "    return kernel.relu2(x)\n",
            '    raise ValueError(f"relu2: x of shape {tuple(x.shape)} is not served")\n',
        ),
    ]
}
