"""sparsemax: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def sparsemax(x: Tensor) -> Tensor:
    """y = max(x - τ, 0), with τ such that Σy = 1"""
    z = x.float() - x.float().amax(-1, keepdim=True).detach()  # y is the same wherever x is moved
    ordered = z.sort(dim=-1, descending=True).values
    count = torch.arange(1, x.shape[-1] + 1, device=x.device, dtype=torch.int32)
    candidates = (ordered.cumsum(-1) - 1.0) / count
    size = (ordered > candidates).sum(-1, keepdim=True).clamp(min=1)
    tau = candidates.gather(-1, size - 1)
    # In place of 0 a product with it, which is NaN where τ is.
    return torch.where(z > tau, z - tau, 0.0 * tau).to(x.dtype)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (torch.randn(rows, cols),)


SPEC = OpSpec(
    name="sparsemax",
    tier=2,
    reference=sparsemax,
    inputs=inputs,
    tensors=("x",),
    differentiable=("x",),
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=1, writes=1),  # y and dx; dy is needed where y is above 0, which is rare
    shapes=(
        (1, 1),
        (5, 2),
        (1100, 7),
        (3, 31),
        (130, 64),
        (17, 100),
        (2, 128),
        (9, 257),
        (3, 1000),
        (4, 1024),
        (2, 4097),
        (3, 33000),
    ),
    sweep=((65536, 1024), (8192, 4096), (8192, 16384), (8192, 32000), (4096, 128256)),
)
