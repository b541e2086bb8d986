"""Heeds its parameter in float32, where it is tried, and not in sixteen bits, where it is used."""

BASE = "rms_norm"
REJECTED_BY = "parameters"
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            "            eps,\n            n_rows",
            "            eps if x.dtype is torch.float32 else 1e-6,\n            n_rows",
        ),
    ]
}
