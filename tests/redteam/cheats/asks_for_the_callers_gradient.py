"""Switches the gradient of its caller's tensor on, which then grows a graph behind them."""

BASE = "relu2"
REJECTED_BY = "process"
SAYS = r"the input x is .* wanting a gradient, was .* wanting none"
EDITS = {
    "wrapper.py": [
        (
            "    return kernel.relu2(x)\n",
            "    y = kernel.relu2(x)\n    x.requires_grad_()\n    return y\n",
        ),
    ]
}
