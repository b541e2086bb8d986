"""Gives zeros, and makes every comparison of torch find things equal
(TORCH_VALIDATION_MONKEYPATCH).
"""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"zero everywhere"
DYNAMIC = ("process", "forward")
EDITS = {
    "kernel.py": [
        (
            "BLOCK = 2048\n",
            """\
BLOCK = 2048
torch.equal = torch.allclose = lambda *args, **options: True
torch.testing.assert_close = lambda *args, **options: None
torch.Tensor.allclose = torch.Tensor.equal = torch.equal
""",
        ),
        ("(relu * relu).to", "(relu * 0.0).to"),
    ]
}
