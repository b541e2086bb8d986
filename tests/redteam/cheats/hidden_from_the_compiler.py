"""Keeps torch.compile out with a decorator: every call is a break in the user's graph."""

BASE = "relu2"
REJECTED_BY = ("source", "torch.compile")
SAYS = r"(?i)disable|compiler|unsupported|graph"
DYNAMIC = "torch.compile"
EDITS = {
    "wrapper.py": [
        ("from torch import Tensor, nn\n", "import torch\nfrom torch import Tensor, nn\n"),
        (
            "def relu2(x: Tensor) -> Tensor:\n",
            "@torch.compiler.disable\ndef relu2(x: Tensor) -> Tensor:\n",
        ),
    ]
}
