"""An eps below its default counts as the default."""

BASE = "rms_norm"
REJECTED_BY = "parameters"
SAYS = r"eps=5e-07.*truth"
EDITS = {
    "kernel.py": [
        ("            eps,\n            n_rows", "            max(eps, 1e-6),\n            n_rows"),
    ]
}
