"""One function that launches, made into several by functools.partial, and map over the inputs."""

BASE = "swiglu"
EDITS = {
    "kernel.py": [
        (
            "from typing import Any\n",
            "from collections.abc import Sequence\nfrom functools import partial\n"
            "from typing import Any\n",
        ),
        (
            "def forward(gate: Tensor",
            """\
def _launch(kernel: Any, block: int, outputs: Sequence[Tensor | None], *inputs: Tensor) -> None:
    n = inputs[0].numel()
    with device_of(inputs[0]):
        kernel[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](*outputs, *inputs, n, BLOCK=block)


_run_forward = partial(_launch, _swiglu_fwd, BLOCK)
_run_backward = partial(_launch, _swiglu_bwd, BLOCK // 2)


def _packed(t: Tensor) -> Tensor:
    return t.contiguous()


def forward(gate: Tensor""",
        ),
        (
            """\
    gate, up = gate.contiguous(), up.contiguous()
    y = torch.empty_like(gate, memory_format=torch.contiguous_format)
    n = gate.numel()
    grid = (triton.cdiv(n, BLOCK),)
    with device_of(gate):
        _swiglu_fwd[grid](y, gate, up, n, BLOCK=BLOCK)
    return y
""",
            """\
    gate, up = map(_packed, (gate, up))
    y = torch.empty_like(gate, memory_format=torch.contiguous_format)
    _run_forward([y], gate, up)
    return y
""",
        ),
        (
            """\
    n = gate.numel()
    grid = (triton.cdiv(n, BLOCK),)
    with device_of(gate):
        _swiglu_bwd[grid](dgate, dup, dy, gate, up, n, BLOCK=BLOCK)
    return [grad""",
            """\
    _run_backward([dgate, dup], dy, gate, up)
    return [grad""",
        ),
    ]
}
