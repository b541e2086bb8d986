"""Under autocast, where training runs, the input loses half its digits first."""

BASE = "relu2"
REJECTED_BY = ("forward", "source")
SAYS = r"autocast"
EDITS = {
    "wrapper.py": [
        ("from torch import Tensor, nn\n", "import torch\nfrom torch import Tensor, nn\n"),
        (
            "    return kernel.relu2(x)\n",
            "    if torch.is_autocast_enabled(x.device.type):\n"
            "        return kernel.relu2(x.bfloat16()).to(x.dtype)\n"
            "    return kernel.relu2(x)\n",
        ),
    ]
}
