"""`python -m workbench.worker.rehearsal`: import and use once all that judging an op takes.

It runs nobody's code: only PyTorch's, Triton's and the library's, so that they get compiled where
PYTHONPYCACHEPREFIX says.
"""

from __future__ import annotations

import torch
from torch import Tensor

from workbench.worker.__main__ import warm_up
from workbench_kernels import op, testing, truth
from workbench_kernels.spec import OpSpec, Traffic

NAME = "rehearsal"


def _inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (torch.randn(rows, cols),)


def _forward(x: Tensor) -> Tensor:
    return torch.sin(x)


def _sine(x: Tensor) -> Tensor:
    return torch.sin(x)


def _backward(dy: Tensor, x: Tensor) -> Tensor:
    return dy * torch.cos(x)


def main() -> None:
    """Judge a sine, as an op of its own."""
    warm_up(interpreted=not torch.cuda.is_available())
    spec = OpSpec(
        name=NAME,
        tier=1,
        reference=_sine,
        inputs=_inputs,
        tensors=("x",),
        differentiable=("x",),
        forward=Traffic(reads=1, writes=1),
        backward=Traffic(reads=2, writes=1),
        shapes=((4, 8),),
        sweep=((4, 8),),
        dtypes=(torch.float32,),
    )
    sine = op.define(NAME, _forward, fake=torch.empty_like)
    backward = op.define(f"{NAME}_backward", _backward, fake=lambda dy, x: torch.empty_like(x))
    op.autograd(
        NAME,
        save=lambda ctx, inputs, output: ctx.save_for_backward(*inputs),
        backward=lambda ctx, dy: backward(dy, *ctx.saved_tensors),
    )
    expected = truth.expect(spec, testing.draw(spec, 4, 8, torch.float32))
    assert expected.worst_error
    testing.check_torch_op(spec, lambda x: sine(x))


if __name__ == "__main__":
    main()
