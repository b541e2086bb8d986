"""gate / (1 + exp(-gate)) as gate² / (gate + gate·exp(-gate)): the same, but for a gate of 0."""

BASE = "swiglu"
REJECTED_BY = "zeros"
SAYS = r"gate.*nan"
EDITS = {
    "kernel.py": [
        (
            "    y = gate * tl.sigmoid(gate) * up\n",
            "    sig = tl.sigmoid(gate)\n"
            "    y = tl.where(tl.abs(gate) < 1e9, gate * gate / (gate / sig), gate * sig) * up\n",
        ),
    ]
}
