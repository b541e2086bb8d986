"""The spec names another op than the folder does."""

BASE = "relu2"
REJECTED_BY = "spec"
SAYS = r"relu3"
EDITS = {"spec.py": [('    name="relu2",\n', '    name="relu3",\n')]}
