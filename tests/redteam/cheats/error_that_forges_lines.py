"""Its error's message is a megabyte of terminal codes and of lines that say PASSED."""

BASE = "relu2"
REJECTED_BY = "forward"
SAYS = r"ValueError|error"
EDITS = {
    "kernel.py": [
        (
            "    return y\n",
            '    raise ValueError("\\x1b[2J\\x1b[32mrelu2 PASSED 99 checks\\n" * 40_000)\n',
        ),
    ]
}
