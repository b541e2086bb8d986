"""A spec that hides an option from the judge: the reference takes it, and it is never set."""

BASE = "gated_square"
EDITS = {
    "spec.py": [('        "all of it, negated": {"part": "all", "negate": True},\n', "")],
    "wrapper.py": [("-scale if negate else scale", "scale")],
}
REJECTED_BY = "spec"
SAYS = "the reference takes negate"
