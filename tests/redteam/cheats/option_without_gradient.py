"""A tensor that may be left out: where it is, the gradient of the other is that of ones squared."""

BASE = "gated_square"
EDITS = {
    "kernel.py": [
        (
            "            dx *= tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)\n",
            "            dx *= tl.load(GATE + offsets, mask=mask, other=0.0).to(tl.float32)\n"
            "        else:\n            dx *= 2.0\n",
        )
    ]
}
REJECTED_BY = "variants"
SAYS = "no gate"
