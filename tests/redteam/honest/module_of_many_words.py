"""A module with options, a representation, a reset of its parameters and typed buffers."""

BASE = "rms_norm"
EDITS = {
    "wrapper.py": [
        (
            """\
    def __init__(self, width: int, eps: float = 1e-06) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(width))
""",
            '''\
    def __init__(
        self,
        width: int,
        eps: float = 1e-06,
        *,
        device: torch.device | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        self.width, self.eps = width, eps
        self.weight = nn.Parameter(torch.empty(width, device=device, dtype=dtype))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The weight of a layer that changes nothing."""
        nn.init.ones_(self.weight)
''',
        ),
        (
            '        return f"eps={self.eps}"\n',
            '        return f"{self.width}, eps={self.eps:g}"\n',
        ),
    ]
}
