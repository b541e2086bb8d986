"""Launches from an autograd.Function without a registered op: a compiler has to look inside."""

BASE = "relu2"
REJECTED_BY = "torch op"
SAYS = r"no .*op .*called"
EDITS = {
    "kernel.py": [
        (
            'relu2 = op.define("relu2", forward, fake=_forward_fake)\n'
            'relu2_backward = op.define("relu2_backward", backward, fake=_backward_fake)\n'
            'op.autograd("relu2", save=_save, backward=_differentiate)\n',
            '''\
class Relu2Function(torch.autograd.Function):
    """relu2 with its gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return forward(x)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        return backward(dy, *ctx.saved_tensors, [True])[0]


relu2 = Relu2Function.apply
''',
        ),
    ]
}
