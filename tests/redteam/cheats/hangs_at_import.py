"""Never comes back from its own import."""

BASE = "relu2"
REJECTED_BY = ("process", "imports")
SAYS = r"hangs|out of time"
TIMEOUT = 60
EDITS = {"wrapper.py": [("class Relu2(", "while True:\n    pass\n\n\nclass Relu2(")]}
