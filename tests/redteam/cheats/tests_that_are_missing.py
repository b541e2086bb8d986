"""A test file without a test."""

BASE = "relu2"
REJECTED_BY = "own tests"
SAYS = r"no test"
FILES = {"test": '"""relu2 needs no test."""\n'}
