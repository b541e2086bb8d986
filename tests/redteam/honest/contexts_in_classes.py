"""A context manager written as a class, a guard in the manner of older libraries; a warning where
the input is copied; an autotuner's leftovers: imports nobody uses, a block for running the file.
"""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "import os\nimport sys\nimport warnings\nfrom typing import Any\n",
        ),
        (
            "BLOCK = 2048\n",
            '''\
BLOCK = 2048


class _Launching:
    """Launches on the device of a tensor; says so where the tensor had to be copied."""

    def __init__(self, x: Tensor, given: Tensor) -> None:
        self.device = device_of(x)
        self.copied = x is not given

    def __enter__(self) -> "_Launching":
        self.device.__enter__()
        return self

    def __exit__(self, *error: object) -> bool:
        self.device.__exit__(*error)
        return False

    def __bool__(self) -> bool:
        return self.copied
''',
        ),
        (
            """\
    x = x.contiguous()
    y = torch.empty_like(x)
    n = x.numel()
    if n:
        with device_of(x):
            _relu2_fwd""",
            """\
    given, x = x, x.contiguous()
    y = torch.empty_like(x)
    n = x.numel()
    if n:
        with _Launching(x, given) as launching:
            if launching:
                warnings.warn(f"relu2: copied {n} elements", UserWarning, stacklevel=2)
            _relu2_fwd""",
        ),
        (
            "        with device_of(x):\n            _relu2_bwd",
            "        with _Launching(x, x):\n            _relu2_bwd",
        ),
        (
            'op.autograd("relu2", save=_save, backward=_differentiate)\n',
            """\
op.autograd("relu2", save=_save, backward=_differentiate)

if __name__ == "__main__":
    t = torch.randn(64, 64)
    print((relu2(t) - torch.relu(t) ** 2).abs().max())
""",
        ),
    ]
}
