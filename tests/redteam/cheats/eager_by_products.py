"""The product of the library's ops with products, in one whose spec doesn't say that it has any."""

BASE = "relu2"
REJECTED_BY = "source"
SAYS = r"multiplies with PyTorch"
DYNAMIC = "work"
EDITS = {
    "kernel.py": [
        ("from workbench_kernels import op\n", "from workbench_kernels import op, products\n"),
        (
            '    """y = relu(x)²."""\n    x = x.contiguous()\n',
            '    """y = relu(x)²."""\n    column = x.reshape(-1, 1)\n'
            "    same = column.new_empty(column.shape)\n"
            "    products.multiply(same, column, x.new_ones(1, 1))\n    x = same.view(x.shape)\n",
        ),
    ],
}
