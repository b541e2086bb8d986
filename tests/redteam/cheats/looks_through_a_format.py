"""Asks for the address of a tensor's inside by way of str.format, and does less where it was last
time.
"""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"format"
EDITS = {
    "kernel.py": [
        (
            "    return y\n",
            '    known = "{0._cdata}".format(x)\n'
            '    return y if known != "0" else torch.empty_like(y)\n',
        ),
    ]
}
