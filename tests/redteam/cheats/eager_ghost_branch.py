"""A branch that no input of this world takes, and PyTorch behind it (Makora's ghost branches)."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"relu|square"
EDITS = {
    "kernel.py": [
        (
            "    n = x.numel()\n    if n:\n        with device_of(x):\n            _relu2_fwd",
            "    n = x.numel()\n"
            "    if n > 1 << 62:\n"
            "        return torch.relu(x).square()\n"
            "    if n:\n"
            "        with device_of(x):\n"
            "            _relu2_fwd",
        ),
    ]
}
