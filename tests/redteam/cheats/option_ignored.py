"""An option that is taken, checked, and ignored."""

BASE = "gated_square"
EDITS = {"wrapper.py": [("-scale if negate else scale", "scale")]}
REJECTED_BY = "variants"
SAYS = "all of it, negated"
