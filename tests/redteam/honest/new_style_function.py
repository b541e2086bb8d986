"""An autograd Function of the newer form, with `setup_context`, for the op and for its gradient;
only what is needed is computed.
"""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        (
            "from torch import Tensor\n",
            "from torch import Tensor\nfrom torch.autograd import Function\n"
            "from torch.autograd.function import FunctionCtx\n",
        ),
        (
            """\
def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    gate, up = inputs
    ctx.save_for_backward(gate, up)


def _differentiate(ctx: Any, dy: Tensor) -> Any:
    gate, up = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:2])
    grads = swiglu_backward(dy, gate, up, needs)
    return op.spread(grads, needs)


swiglu = op.define("swiglu", forward, fake=_forward_fake)
swiglu_backward = op.define("swiglu_backward", backward, fake=_backward_fake)
op.autograd("swiglu", save=_save, backward=_differentiate)
""",
            '''\
_swiglu = op.define("swiglu", forward, fake=_forward_fake)
_swiglu_backward = op.define("swiglu_backward", backward, fake=_backward_fake)


class _SwigluGradient(Function):
    """The gradients, which have none."""

    @staticmethod
    def forward(
        dy: Tensor, gate: Tensor, up: Tensor, needs: list[bool]
    ) -> tuple[Tensor | None, ...]:
        return op.spread(_swiglu_backward(dy, gate, up, needs), needs)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Any, ...], output: Any) -> None:
        pass

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Any:
        raise NotImplementedError("swiglu: the gradient has no gradient")


class Swiglu(Function):
    """y = gate · σ(gate) · up"""

    @staticmethod
    def forward(gate: Tensor, up: Tensor) -> Tensor:
        return _swiglu(gate, up)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        if any(ctx.needs_input_grad):
            ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor) -> Any:
        (dy,) = grads
        return _SwigluGradient.apply(dy, *ctx.saved_tensors, list(ctx.needs_input_grad))


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """Apply the function."""
    return Swiglu.apply(gate, up)
''',
        ),
    ]
}
