"""Keeps results by address in a default argument."""

BASE = "relu2"
REJECTED_BY = ("source", "no stale results")
SAYS = r"kept|default|stale|truth"
DYNAMIC = "no stale results"
EDITS = {
    "kernel.py": [
        (
            "def forward(x: Tensor) -> Tensor:\n",
            """\
def _keep(x: Tensor, y: Tensor, kept: dict[Any, Tensor] = {}) -> Tensor:  # noqa: B006
    return kept.setdefault((x.data_ptr(), x.shape, x.dtype), y).clone()


def forward(x: Tensor) -> Tensor:
""",
        ),
        ("    return y\n", "    return _keep(x, y)\n"),
    ]
}
