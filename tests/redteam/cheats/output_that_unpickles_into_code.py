"""Its result runs a command in whoever unpickles it."""

BASE = "relu2"
REJECTED_BY = ("forward", "form of outputs")
SAYS = r"(?i)tensor|type|subclass|pickle"
EDITS = {
    "wrapper.py": [
        ("from torch import Tensor, nn\n", "import torch\nfrom torch import Tensor, nn\n"),
        (
            "    return kernel.relu2(x)\n",
            "    return kernel.relu2(x).as_subclass(Loaded)\n",
        ),
        (
            "class Relu2(",
            '''\
class Loaded(Tensor):
    """A tensor whose copy elsewhere is made by a command."""

    def __reduce_ex__(self, protocol: int) -> object:
        return eval, ("__import__('os')._exit(0)",)


class Relu2(''',
        ),
    ],
}
EDITS["wrapper.py"][0] = ("from torch import Tensor, nn\n", "from torch import Tensor, nn\n")
