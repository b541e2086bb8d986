"""Registered with `torch.library.custom_op` instead of the library's own `op.define`."""

BASE = "relu2"
EDITS = {
    "kernel.py": [
        ("from workbench_kernels import op\n", ""),
        (
            "def forward(x: Tensor) -> Tensor:\n",
            '@torch.library.custom_op("workbench_kernels::relu2", mutates_args=())\n'
            "def relu2(x: Tensor) -> Tensor:\n",
        ),
        (
            "def backward(dy: Tensor, x: Tensor, needs: list[bool]) -> list[Tensor]:\n"
            '    """The gradients asked for by `needs`, in the order of the inputs."""\n',
            '@torch.library.custom_op("workbench_kernels::relu2_backward", mutates_args=())\n'
            "def relu2_backward(dy: Tensor, x: Tensor) -> Tensor:\n"
            '    """dx = dy · 2·relu(x)."""\n',
        ),
        ("    dx = torch.empty_like(x) if needs[0] else None\n", "    dx = torch.empty_like(x)\n"),
        ("    return [grad for grad in (dx,) if grad is not None]\n", "    return dx\n"),
        ("def _forward_fake(x: Tensor)", "@relu2.register_fake\ndef _forward_fake(x: Tensor)"),
        (
            """\
def _backward_fake(dy: Tensor, x: Tensor, needs: list[bool]) -> list[Tensor]:
    return [
        torch.empty_like(t, memory_format=torch.contiguous_format)
        for t, need in zip((x,), needs, strict=True)
        if need
    ]
""",
            """\
@relu2_backward.register_fake
def _backward_fake(dy: Tensor, x: Tensor) -> Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)
""",
        ),
        ("-> tuple[Tensor | None, ...]:\n    (x,)", "-> Tensor:\n    (x,)"),
        (
            "    needs = list(ctx.needs_input_grad[:1])\n"
            "    return op.spread(relu2_backward(dy, x, needs), needs)\n",
            "    return relu2_backward(dy, x)\n\n\n"
            "def _refuse(ctx: Any, ddx: Tensor) -> None:\n"
            '    raise NotImplementedError("relu2 has no second derivative")\n',
        ),
        (
            """\
relu2 = op.define("relu2", forward, fake=_forward_fake)
relu2_backward = op.define("relu2_backward", backward, fake=_backward_fake)
op.autograd("relu2", save=_save, backward=_differentiate)
""",
            """\
relu2.register_autograd(_differentiate, setup_context=_save)
relu2_backward.register_autograd(_refuse)
""",
        ),
    ]
}
