"""Its change also edits the file that says how near is near enough."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"is .*, truth"
EDITS = {
    "../bound.py": [("FACTOR = 2.0\n", "FACTOR = 1e9\n")],
    "kernel.py": [("(relu * relu).to", "(relu * relu * 1.01).to")],
}
