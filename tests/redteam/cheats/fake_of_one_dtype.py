"""Tells the compiler the dtype of what it keeps of each row, and is right in float32 alone."""

BASE = "rms_norm"
REJECTED_BY = "torch op"
SAYS = r"(?i)dtype"
EDITS = {
    "kernel.py": [
        (
            "        x.shape[:-1], dtype=torch.float32\n    )\n\n\ndef _backward_fake",
            "        x.shape[:-1]\n    )\n\n\ndef _backward_fake",
        ),
    ]
}
