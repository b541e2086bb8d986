"""Derivatives by `torch.autograd.Function` around two registered ops, not by `op.autograd`."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        (
            """\
def _save(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    (x,) = inputs
    ctx.save_for_backward(x)


def _differentiate(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
    (x,) = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:1])
    return op.spread(relu2_backward(dy, x, needs), needs)


relu2 = op.define("relu2", forward, fake=_forward_fake)
relu2_backward = op.define("relu2_backward", backward, fake=_backward_fake)
op.autograd("relu2", save=_save, backward=_differentiate)
""",
            '''\
relu2 = op.define("relu2", forward, fake=_forward_fake)
relu2_backward = op.define("relu2_backward", backward, fake=_backward_fake)


class Relu2Function(torch.autograd.Function):
    """relu2 with its gradient, which itself has none."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return relu2(x)

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor | None:
        (x,) = ctx.saved_tensors
        return Relu2Gradient.apply(dy, x)


class Relu2Gradient(torch.autograd.Function):
    """The gradient of relu2. Differentiating it is refused."""

    @staticmethod
    def forward(ctx: Any, dy: Tensor, x: Tensor) -> Tensor:
        return relu2_backward(dy, x, [True])[0]

    @staticmethod
    def backward(ctx: Any, ddx: Tensor) -> None:
        raise NotImplementedError("relu2 has no second derivative")
''',
        ),
    ],
    "wrapper.py": [("    return kernel.relu2(x)\n", "    return kernel.Relu2Function.apply(x)\n")],
}
