"""Calls a `kernel[grid]` that is no kernel: a class of the same looks, with PyTorch inside."""

BASE = "relu2"
REJECTED_BY = ("source", "work")
SAYS = r"(?i)relu|square|__getitem__|kernel|launch"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "def forward(x: Tensor) -> Tensor:\n",
            '''\
class Kernel:
    """Looks like a launch."""

    def __getitem__(self, grid: tuple[int, ...]) -> Any:
        return lambda y, x, n, BLOCK: y.copy_(torch.relu(x).square())


_relu2_fwd = Kernel()


def forward(x: Tensor) -> Tensor:
''',
        ),
    ]
}
