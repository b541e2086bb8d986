"""The forward saves sigmoid(gate) in float32 for the backward: more memory, one exponential
less.
"""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        ("def _swiglu_fwd(Y, GATE, UP, n", "def _swiglu_fwd(Y, SIG, GATE, UP, n"),
        (
            "    y = gate * tl.sigmoid(gate) * up\n",
            "    sig = tl.sigmoid(gate)\n"
            "    y = gate * sig * up\n"
            "    tl.store(SIG + offsets, sig, mask=mask)\n",
        ),
        (
            "def _swiglu_bwd(DGATE, DUP, DY, GATE, UP, n",
            "def _swiglu_bwd(DGATE, DUP, DY, GATE, UP, SIG, n",
        ),
        (
            "    sig = tl.sigmoid(gate)\n    dgate",
            "    sig = tl.load(SIG + offsets, mask=mask, other=0.0)\n    dgate",
        ),
        (
            "def forward(gate: Tensor, up: Tensor) -> Tensor:\n"
            '    """Launch the forward kernel over all'
            ' elements."""',
            "def forward(gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:\n"
            '    """The output, and the sigmoid of the gate for the backward."""',
        ),
        (
            "    y = torch.empty_like(gate, memory_format=torch.contiguous_format)\n",
            "    y = torch.empty_like(gate, memory_format=torch.contiguous_format)\n"
            "    sig = torch.empty_like(y, dtype=torch.float32)\n",
        ),
        (
            "(y, gate, up, n, BLOCK=BLOCK)\n    return y\n",
            "(y, sig, gate, up, n, BLOCK=BLOCK)\n    return y, sig\n",
        ),
        (
            "def backward(dy: Tensor, gate: Tensor, up: Tensor, needs: list[bool]) -> "
            "list[Tensor]:\n",
            "def backward(\n"
            "    dy: Tensor, gate: Tensor, up: Tensor, sig: Tensor, needs: list[bool]\n"
            ") -> list[Tensor]:\n",
        ),
        ("(dgate, dup, dy, gate, up, n,", "(dgate, dup, dy, gate, up, sig, n,"),
        (
            """\
def _forward_fake(gate: Tensor, up: Tensor) -> Tensor:
    return torch.empty_like(gate, memory_format=torch.contiguous_format)
""",
            """\
def _forward_fake(gate: Tensor, up: Tensor) -> tuple[Tensor, Tensor]:
    y = torch.empty_like(gate, memory_format=torch.contiguous_format)
    return y, torch.empty_like(y, dtype=torch.float32)
""",
        ),
        (
            "def _backward_fake(dy: Tensor, gate: Tensor, up: Tensor, needs: list[bool]) -> "
            "list[Tensor]:\n",
            "def _backward_fake(\n"
            "    dy: Tensor, gate: Tensor, up: Tensor, sig: Tensor, needs: list[bool]\n"
            ") -> list[Tensor]:\n",
        ),
        (
            "    gate, up = inputs\n    ctx.save_for_backward(gate, up)\n",
            "    gate, up = inputs\n"
            "    _y, sig = output\n"
            "    ctx.save_for_backward(gate, up, sig)\n"
            "    ctx.mark_non_differentiable(sig)\n",
        ),
        (
            "def _differentiate(ctx: Any, dy: Tensor)",
            "def _differentiate(ctx: Any, dy: Tensor, _dsig: None)",
        ),
        ("    gate, up = ctx.saved_tensors\n", "    gate, up, sig = ctx.saved_tensors\n"),
        ("swiglu_backward(dy, gate, up, needs)", "swiglu_backward(dy, gate, up, sig, needs)"),
    ],
    "wrapper.py": [("return kernel.swiglu(gate, up)", "return kernel.swiglu(gate, up)[0]")],
}
