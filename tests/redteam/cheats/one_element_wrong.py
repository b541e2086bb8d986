"""Wrong by a ten-thousandth at one element in two thousand."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            "(relu * relu).to",
            "(relu * relu * tl.where(offsets % 2048 == 100, 1.0001, 1.0)).to",
        ),
    ]
}
