"""Leaves out what a width has over a multiple of 16."""

BASE = "swiglu"
REJECTED_BY = "forward"
SAYS = r"truth|nan"
EDITS = {
    "kernel.py": [
        (
            "    n = gate.numel()\n    grid = (triton.cdiv(n, BLOCK),)\n    with device_of(gate):\n"
            "        _swiglu_fwd",
            "    n = gate.numel() // 16 * 16\n    grid = (triton.cdiv(n, BLOCK),)\n"
            "    with device_of(gate):\n        _swiglu_fwd",
        ),
    ]
}
