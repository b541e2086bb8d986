"""A right op whose own tests fail."""

BASE = "relu2"
REJECTED_BY = "own tests"
SAYS = r"1 of \d+ fail"
EDITS = {"test": [('match=r"relu2: x is torch\\.float64"', 'match=r"relu2: x is not served"')]}
