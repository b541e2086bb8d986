"""The registered op takes matrices only; the wrapper makes them of any shape, and asserts."""

BASE = "rms_norm"
EDITS = {
    "kernel.py": [
        (
            '    """The outputs, then what the backward needs of each row."""\n',
            '    """The outputs, then what the backward needs of each row."""\n'
            '    assert x.ndim == 2 and weight.ndim == 1, "a matrix and a vector"\n',
        ),
    ],
    "wrapper.py": [
        (
            "    return kernel.rms_norm(x, weight, eps)[0]\n",
            "    lead, width = x.shape[:-1], x.shape[-1]\n"
            "    rows = math.prod(lead)\n"
            "    matrix = x.reshape(rows, width)\n"
            "    assert matrix.stride(-1) in (0, 1) or not matrix.is_contiguous()\n"
            "    y, _rstd = kernel.rms_norm(matrix, weight, eps)\n"
            "    return y.unflatten(0, lead) if len(lead) > 1 else y.view(x.shape)\n",
        ),
        ("import torch\n", "import math\n\nimport torch\n"),
    ],
}
