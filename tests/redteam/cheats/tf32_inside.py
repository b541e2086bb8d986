"""Drops the last 13 bits of float32 inputs, as a TF32 tensor core would."""

BASE = "swiglu"
REJECTED_BY = "forward"
SAYS = r"float32.*truth"
EDITS = {
    "kernel.py": [
        (
            "    y = gate * tl.sigmoid(gate) * up\n",
            "    bits = up.to(tl.int32, bitcast=True) & -8192\n"
            "    y = gate * tl.sigmoid(gate) * bits.to(tl.float32, bitcast=True)\n",
        ),
    ]
}
