"""Switches gradients off and leaves them off: a reference run in this process would have none."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"grad"
DYNAMIC = ("process", "backward", "form of outputs")
EDITS = {
    "wrapper.py": [
        ("from torch import Tensor, nn\n", "import torch\nfrom torch import Tensor, nn\n"),
        (
            "    return kernel.relu2(x)\n",
            "    y = kernel.relu2(x)\n    torch.set_grad_enabled(False)\n    return y\n",
        ),
    ]
}
