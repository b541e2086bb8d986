"""Starts a process in a session of its own, which the end of the worker's group would not reach."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"subprocess"
DYNAMIC = ("process", "forward")
EDITS = {
    "wrapper.py": [
        ("from torch import Tensor, nn\n", "import subprocess\n\nfrom torch import Tensor, nn\n"),
        (
            "    return kernel.relu2(x)\n",
            '    subprocess.Popen(["sleep", "864213"], start_new_session=True)\n'
            "    return kernel.relu2(x)\n",
        ),
    ]
}
