"""A branch for small tensors, where "a launch is not worth it": every test is small."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"relu|square"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "    n = x.numel()\n    if n:\n        with device_of(x):\n            _relu2_fwd",
            "    n = x.numel()\n"
            "    if n < 1 << 20:\n"
            "        return torch.relu(x).square()\n"
            "    if n:\n"
            "        with device_of(x):\n"
            "            _relu2_fwd",
        ),
    ]
}
