"""Cuts off at the largest float16: an infinity becomes a number."""

BASE = "swiglu"
REJECTED_BY = ("nan and infinity", "magnitudes")
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            "    y = gate * tl.sigmoid(gate) * up\n",
            "    y = gate * tl.sigmoid(gate) * tl.minimum(tl.maximum(up, -65504.0), 65504.0)\n",
        ),
    ]
}
