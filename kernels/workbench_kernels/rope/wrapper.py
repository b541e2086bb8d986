"""rope for users: the functional form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from torch import Tensor, nn

from workbench_kernels.launch import check
from workbench_kernels.rope import kernel
from workbench_kernels.rotary import check_heads, check_tables


@overload
def rope(
    q: Tensor,
    k: Tensor,
    cos: Tensor,
    sin: Tensor,
    pairing: str = ...,
    per_pair: bool = ...,
    sections: Sequence[int] = ...,
    heads_dim: int = ...,
) -> tuple[Tensor, Tensor]: ...


@overload
def rope(
    q: Tensor,
    k: None,
    cos: Tensor,
    sin: Tensor,
    pairing: str = ...,
    per_pair: bool = ...,
    sections: Sequence[int] = ...,
    heads_dim: int = ...,
) -> Tensor: ...


def rope(
    q: Tensor,
    k: Tensor | None,
    cos: Tensor,
    sin: Tensor,
    pairing: str = "half",
    per_pair: bool = False,
    sections: Sequence[int] = (),
    heads_dim: int = -2,
) -> Tensor | tuple[Tensor, Tensor]:
    """y₁ = x₁·cos₁ − x₂·sin₁, y₂ = x₂·cos₂ + x₁·sin₂ for each pair (x₁, x₂) of a head's features

    The first R features of each head are rotated and the others pass through, as many as the tables
    are wide: R, or R/2 if they have one value `per_pair`. Arithmetic is in float32.

    q, k: (..., tokens, heads, features), or with the heads where `heads_dim` says: 1 for (batch,
        heads, tokens, features). Any strides; k may be None, or have another number of heads.
        float32, bfloat16 or float16; on a GPU.
    cos, sin: (..., tokens, R), or what is broadcast to that; of the dtype of q, or float32. They
        have no gradient.
    pairing: "half" pairs features i and R/2 + i; "interleaved" 2i and 2i + 1, "interleaved_to_half"
        too, and puts what becomes of them at i and R/2 + i. Tables of R columns lie as results do.
    sections: of so many pairs the tables' values are those of axis 0, of so many of axis 1 …; the
        tables have the axes as another dimension, the first.
    Returns q and k turned, or q alone if there is no k: new tensors, laid out as they came.

    Raises:
        TypeError: a dtype that is not served, or a mix of them.
        ValueError: a shape that doesn't fit, an unknown pairing, tables that want a gradient, or a
            tensor that is not on a GPU.
    """
    if k is None:
        check("rope", q=q)
    else:
        check("rope", q=q, k=k)
    check_tables("rope", q, cos, sin, pairing, per_pair, sections, heads_dim)
    if k is not None:
        check_heads("rope", q, k, heads_dim)
    # One tensor is turned beside another that has no heads.
    other = q.detach().narrow(heads_dim, 0, 0) if k is None else k
    yq, yk = kernel.rope(q, other, cos, sin, pairing, per_pair, [*sections], heads_dim)
    return yq if k is None else (yq, yk)


class Rope(nn.Module):
    """Module form of :func:`rope`, for two tensors."""

    def __init__(
        self,
        pairing: str = "half",
        per_pair: bool = False,
        sections: Sequence[int] = (),
        heads_dim: int = -2,
    ) -> None:
        super().__init__()
        self.pairing, self.per_pair = pairing, per_pair
        self.sections, self.heads_dim = tuple(sections), heads_dim

    def forward(self, q: Tensor, k: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor]:
        return rope(q, k, cos, sin, self.pairing, self.per_pair, self.sections, self.heads_dim)

    def extra_repr(self) -> str:
        return (
            f"pairing={self.pairing!r}, per_pair={self.per_pair}, sections={self.sections}, "
            f"heads_dim={self.heads_dim}"
        )
