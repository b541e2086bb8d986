"""exp(2·log x) for x²: right to a few ulps of usual values, and lost at both ends."""

BASE = "relu2"
REJECTED_BY = ("magnitudes", "forward")
SAYS = r"truth"
EDITS = {"kernel.py": [("(relu * relu).to", "tl.exp(2.0 * tl.log(relu + 1e-9)).to")]}
