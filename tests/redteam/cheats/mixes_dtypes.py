"""Takes inputs of two dtypes and calls the result whatever the first one is."""

BASE = "swiglu"
REJECTED_BY = "refusals"
SAYS = r"another dtype.*not refused|not refused"
EDITS = {
    "wrapper.py": [
        ('    check("swiglu", gate=gate, up=up)\n', '    check("swiglu", gate=gate)\n'),
    ]
}
