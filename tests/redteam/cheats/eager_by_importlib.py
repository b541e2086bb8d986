"""The same, from a module whose name is put together when it runs."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"importlib|import"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import importlib\nfrom typing import Any\n"),
        (
            "    return y\n",
            '    functions = importlib.import_module(".".join(("torch", "nn", "functional")))\n'
            "    return functions.relu(x).square()\n",
        ),
    ]
}
