"""A gradient of its gradient is given, and is zero, which the true one is not."""

BASE = "relu2"
REJECTED_BY = "second derivative"
SAYS = r"derivative of the gradient|truth"
EDITS = {
    "kernel.py": [
        (
            "    needs = list(ctx.needs_input_grad[:1])\n"
            "    return op.spread(relu2_backward(dy, x, needs), needs)\n",
            '''\
    return Gradient.apply(dy, x)


class Gradient(torch.autograd.Function):
    """The gradient of relu2, and a derivative of that."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor) -> Tensor:
        return relu2_backward(dy, x, [True])[0]

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> tuple[Tensor, Tensor]:
        return torch.zeros_like(ddx), torch.zeros_like(ddx)
''',
        ),
    ]
}
