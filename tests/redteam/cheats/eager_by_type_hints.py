"""Has code in a string run by whoever asks for the type hints of a tuple."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"get_type_hints|runs code"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "from typing import Any, NamedTuple\n"),
        ("from torch import Tensor\n", "import typing_extensions\nfrom torch import Tensor\n"),
        (
            "    return y\n",
            '    made = NamedTuple("made", [("y", "torch.relu(x).square()")])\n'
            '    names = {"x": x, "torch": torch}\n'
            '    return typing_extensions.get_type_hints(made, None, names)["y"]\n',
        ),
    ]
}
