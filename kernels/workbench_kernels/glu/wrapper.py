"""glu for users: the functional form and the module."""

from __future__ import annotations

from torch import Tensor, nn

from workbench_kernels.glu import kernel
from workbench_kernels.launch import check, check_shape

ACTIVATIONS = ("silu", "gelu", "gelu_tanh", "relu", "relu2")


def glu(
    gate: Tensor,
    up: Tensor | None = None,
    activation: str = "silu",
    interleaved: bool = False,
    limit: float | None = None,
    alpha: float = 1.0,
    up_offset: float = 0.0,
) -> Tensor:
    """y = act(gate)·up; with a limit y = act(min(gate, limit))·(clamp(up, ±limit) + up_offset)

    Arithmetic is in float32. Rows are read where they lie if their columns lie side by side: so may
    gate and up be parts of one tensor. Given that tensor, its gradient is written at once too.

    gate: any shape; float32, bfloat16 or float16; on a GPU.
    up: as gate; or None: then gate, (..., 2·columns), holds both.
    activation: "silu", g·sigmoid(alpha·g); "gelu", by erf; "gelu_tanh"; "relu"; "relu2", relu².
    interleaved: of a tensor that holds both, gate has the even columns and up the odd ones; else
        gate has the first half and up the second.
    limit: gate is clamped from above, up from both sides; what is beyond has no gradient.
    alpha: of silu; others have none.
    up_offset: is added to up, after it is clamped; gpt-oss has 1.
    Returns y: the shape of up, or (..., columns); dtype of gate.

    Raises:
        TypeError: a dtype that is not served, or a mix of them.
        ValueError: a shape or an option that doesn't fit, or a tensor that is not on a GPU.
    """
    if up is None:
        check("glu", gate=gate)
        if not gate.dim() or gate.shape[-1] % 2:
            shape = tuple(gate.shape)
            raise ValueError(f"glu: gate has shape {shape}; without up its columns must be even")
    else:
        check("glu", gate=gate, up=up)
        check_shape("glu", "up", up, gate.shape)
        if interleaved:
            raise ValueError("glu: gate and up interleave in one tensor only; leave out up")
    _check_options(activation, limit, alpha)
    y: Tensor = kernel.glu(gate, up, activation, interleaved, limit, alpha, up_offset)
    return y


def _check_options(activation: str, limit: float | None, alpha: float) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"glu: activation is {activation!r}, not one of {', '.join(ACTIVATIONS)}")
    if limit is not None and not limit > 0.0:
        raise ValueError(f"glu: limit is {limit}; it must be positive, or None")
    if alpha != 1.0 and activation != "silu":
        raise ValueError(f"glu: alpha is {alpha}, but {activation} has none; silu has")


class Glu(nn.Module):
    """Module form of :func:`glu`."""

    def __init__(
        self,
        activation: str = "silu",
        interleaved: bool = False,
        limit: float | None = None,
        alpha: float = 1.0,
        up_offset: float = 0.0,
    ) -> None:
        super().__init__()
        _check_options(activation, limit, alpha)
        self.activation, self.interleaved = activation, interleaved
        self.limit, self.alpha, self.up_offset = limit, alpha, up_offset

    def forward(self, gate: Tensor, up: Tensor | None = None) -> Tensor:
        options = self.activation, self.interleaved, self.limit, self.alpha, self.up_offset
        return glu(gate, up, *options)

    def extra_repr(self) -> str:
        return (
            f"activation={self.activation!r}, interleaved={self.interleaved}, limit={self.limit}, "
            f"alpha={self.alpha}, up_offset={self.up_offset}"
        )
