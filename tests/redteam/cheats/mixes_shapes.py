"""Does not look at the second input's shape, and reads past its end or past its rows."""

BASE = "swiglu"
REJECTED_BY = "refusals"
SAYS = r"another size|not refused"
EDITS = {
    "wrapper.py": [
        ('    check_shape("swiglu", "up", up, gate.shape)\n', ""),
        ("launch import check, check_shape\n", "launch import check\n"),
    ]
}
