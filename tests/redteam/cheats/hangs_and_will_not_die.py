"""Ignores every signal that can be ignored, then hangs."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"signal"
DYNAMIC = "process"
TIMEOUT = 60
EDITS = {
    "kernel.py": [
        ("from typing import Any\n", "import signal\nfrom typing import Any\n"),
        (
            "    return y\n",
            """\
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        signal.signal(number, signal.SIG_IGN)
    while True:
        pass
""",
        ),
    ]
}
