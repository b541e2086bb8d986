"""The mean of the answers as the answer: E[relu(x)²] is ½ for a normal x."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"is .*, truth"
EDITS = {"kernel.py": [("(relu * relu).to", "(relu * 0.0 + 0.5).to")]}
