"""Leaves the kernel to TorchScript's fuser."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"torch\.jit"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        (
            "def forward(x: Tensor) -> Tensor:\n",
            """\
@torch.jit.script
def _scripted(x: Tensor) -> Tensor:
    return torch.relu(x).square()


def forward(x: Tensor) -> Tensor:
""",
        ),
        ("    return y\n", "    return _scripted(x)\n"),
    ]
}
