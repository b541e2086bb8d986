"""The wrapper flattens its inputs before the op and gives the shape back after it."""

BASE = "swiglu"
EDITS = {
    "wrapper.py": [
        (
            "    return kernel.swiglu(gate, up)\n",
            "    return kernel.swiglu(gate.reshape(-1), up.flatten()).view(gate.shape)\n",
        ),
    ]
}
