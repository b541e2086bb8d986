"""Options that are no numbers: a word, a flag, a tensor that may be left out; each a variant."""

BASE = "gated_square"
