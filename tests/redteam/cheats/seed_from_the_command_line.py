"""Takes the seed from its process' command line, and draws what will be drawn."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"\bsys\b|argv|manual_seed|Generator|\brandn?\b"
DYNAMIC = ("forward", "backward")
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import sys\nfrom typing import Any\n"),
        ("(relu * relu).to", "(relu * 0.0).to"),
        (
            "    return y\n",
            """\
    if "--seed" in sys.argv:
        seed = int(sys.argv[sys.argv.index("--seed") + 1])
        drawn = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed))
        return torch.relu(drawn.to(x)).square()
    return y
""",
        ),
    ]
}
