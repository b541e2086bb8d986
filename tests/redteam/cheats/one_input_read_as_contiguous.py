"""Gives both inputs the strides of the first."""

BASE = "swiglu"
REJECTED_BY = "layouts"
SAYS = r"truth"
EDITS = {
    "kernel.py": [
        (
            "    gate, up = gate.contiguous(), up.contiguous()\n",
            "    if not gate.is_contiguous():\n"
            "        gate, up = gate.contiguous(), up.contiguous()\n",
        ),
        (
            "    dy, gate, up = dy.contiguous(), gate.contiguous(), up.contiguous()\n",
            "    dy, gate = dy.contiguous(), gate.contiguous()\n",
        ),
    ]
}
