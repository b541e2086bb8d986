"""Takes the sigmoid for 0 or 1 beyond 6: a normal distribution hardly ever gets there, and the
thousands of a stress test lie far beyond.
"""

BASE = "swiglu"
REJECTED_BY = "magnitudes"
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            "    y = gate * tl.sigmoid(gate) * up\n",
            "    sig = tl.where(gate > 6.0, 1.0, tl.where(gate < -6.0, 0.0, tl.sigmoid(gate)))\n"
            "    y = gate * sig * up\n",
        ),
    ]
}
