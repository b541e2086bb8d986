"""Both gradients in one allocation, a leading dimension of two that the derivative takes apart."""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        ("def _swiglu_bwd(DGATE, DUP, DY, GATE, UP, n,", "def _swiglu_bwd(GRADS, DY, GATE, UP, n,"),
        (
            "    if DGATE is not None:\n"
            "        tl.store(DGATE + offsets, dgate.to(DGATE.dtype.element_ty), mask=mask)\n"
            "    if DUP is not None:\n"
            "        tl.store(DUP + offsets, dup.to(DUP.dtype.element_ty), mask=mask)\n",
            "    tl.store(GRADS + offsets, dgate.to(GRADS.dtype.element_ty), mask=mask)\n"
            "    tl.store(GRADS + n + offsets, dup.to(GRADS.dtype.element_ty), mask=mask)\n",
        ),
        (
            "def backward(dy: Tensor, gate: Tensor, up: Tensor, needs: list[bool]) -> "
            "list[Tensor]:\n"
            '    """The gradients that `needs` asks for, in the order of the inputs."""\n',
            "def backward(dy: Tensor, gate: Tensor, up: Tensor) -> Tensor:\n"
            '    """Both gradients, one behind the other."""\n',
        ),
        (
            "    dgate = torch.empty_like(gate, memory_format=torch.contiguous_format) if "
            "needs[0] else None\n"
            "    dup = torch.empty_like(gate, memory_format=torch.contiguous_format) if needs[1] "
            "else None\n",
            "    grads = torch.empty((2, *gate.shape), dtype=gate.dtype, device=gate.device)\n",
        ),
        ("_swiglu_bwd[grid](dgate, dup, dy,", "_swiglu_bwd[grid](grads, dy,"),
        ("    return [grad for grad in (dgate, dup) if grad is not None]\n", "    return grads\n"),
        (
            """\
def _backward_fake(dy: Tensor, gate: Tensor, up: Tensor, needs: list[bool]) -> list[Tensor]:
    grads = []
    if needs[0]:
        grads.append(torch.empty_like(gate, memory_format=torch.contiguous_format))
    if needs[1]:
        grads.append(torch.empty_like(gate, memory_format=torch.contiguous_format))
    return grads
""",
            """\
def _backward_fake(dy: Tensor, gate: Tensor, up: Tensor) -> Tensor:
    return gate.new_empty((2, *gate.shape))
""",
        ),
        (
            "    needs = list(ctx.needs_input_grad[:2])\n"
            "    grads = swiglu_backward(dy, gate, up, needs)\n"
            "    return op.spread(grads, needs)\n",
            "    dgate, dup = swiglu_backward(dy, gate, up).unbind(0)\n"
            "    return dgate if ctx.needs_input_grad[0] else None, dup\n",
        ),
    ]
}
