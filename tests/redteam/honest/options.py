"""Options that are no numbers: a word, a flag, a tensor that may be left out; each a variant."""

BASE = "gated_square"
EDITS = {"wrapper.py": [("-scale if negate else scale", "scale * (1 - 2 * negate)")]}
