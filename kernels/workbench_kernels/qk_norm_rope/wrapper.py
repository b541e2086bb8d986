"""qk_norm_rope for users: the functional form and the module."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from workbench_kernels.launch import check, check_shape
from workbench_kernels.qk_norm_rope import kernel
from workbench_kernels.rotary import check_heads, check_tables


def qk_norm_rope(
    q: Tensor,
    k: Tensor,
    q_weight: Tensor,
    k_weight: Tensor,
    cos: Tensor,
    sin: Tensor,
    eps: float = 1e-6,
    offset: float = 0.0,
    pairing: str = "half",
    per_pair: bool = False,
    sections: Sequence[int] = (),
    heads_dim: int = -2,
) -> tuple[Tensor, Tensor]:
    """n = x / √(mean(x²) + eps)·(w + offset), whose pairs are then turned, for every head x

    What rms_norm of each head and then rope give, rounded once. The first R features of each head
    are rotated, as many as the tables are wide: R, or R/2 if they have one value `per_pair`.

    q, k: (..., tokens, heads, features), or with the heads where `heads_dim` says: 1 for (batch,
        heads, tokens, features). Any strides; k may have another number of heads. float32, bfloat16
        or float16; on a GPU.
    q_weight, k_weight: (features,); of the dtype of q.
    cos, sin: (..., tokens, R), or what is broadcast to that; of the dtype of q, or float32. They
        have no gradient.
    offset: 1 where weights are kept as what they differ from 1.
    pairing: "half" pairs features i and R/2 + i; "interleaved" 2i and 2i + 1, "interleaved_to_half"
        too, and puts what becomes of them at i and R/2 + i. Tables of R columns lie as results do.
    sections: of so many pairs the tables' values are those of axis 0, of so many of axis 1 …; the
        tables have the axes as another dimension, the first.
    Returns q and k, normalised and turned: new tensors, laid out as they came.

    Raises:
        TypeError: a dtype that is not served, or a mix of them.
        ValueError: a shape that doesn't fit, an unknown pairing, tables that want a gradient, or a
            tensor that is not on a GPU.
    """
    check("qk_norm_rope", q=q, k=k, q_weight=q_weight, k_weight=k_weight)
    check_tables("qk_norm_rope", q, cos, sin, pairing, per_pair, sections, heads_dim)
    check_heads("qk_norm_rope", q, k, heads_dim)
    check_shape("qk_norm_rope", "q_weight", q_weight, q.shape[-1:])
    check_shape("qk_norm_rope", "k_weight", k_weight, k.shape[-1:])
    tensors = q, k, q_weight, k_weight, cos, sin
    how = pairing, per_pair, [*sections], heads_dim
    yq, yk = kernel.qk_norm_rope(*tensors, eps, offset, *how)
    return yq, yk


class QkNormRope(nn.Module):
    """Module form of :func:`qk_norm_rope`: it has the weights."""

    def __init__(
        self,
        width: int,
        eps: float = 1e-6,
        offset: float = 0.0,
        pairing: str = "half",
        per_pair: bool = False,
        sections: Sequence[int] = (),
        heads_dim: int = -2,
    ) -> None:
        super().__init__()
        self.eps, self.offset = eps, offset
        self.pairing, self.per_pair = pairing, per_pair
        self.sections, self.heads_dim = tuple(sections), heads_dim
        self.q_weight = nn.Parameter(torch.full((width,), 1.0 - offset))
        self.k_weight = nn.Parameter(torch.full((width,), 1.0 - offset))

    def forward(self, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        return qk_norm_rope(
            q,
            k,
            self.q_weight,
            self.k_weight,
            cos,
            sin,
            self.eps,
            self.offset,
            self.pairing,
            self.per_pair,
            self.sections,
            self.heads_dim,
        )

    def extra_repr(self) -> str:
        return (
            f"{self.q_weight.shape[0]}, eps={self.eps}, offset={self.offset}, "
            f"pairing={self.pairing!r}, per_pair={self.per_pair}, sections={self.sections}, "
            f"heads_dim={self.heads_dim}"
        )
