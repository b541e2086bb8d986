"""A module with a base class, properties, a class method that converts PyTorch's own module, and a
parameter that is registered in a helper.
"""

BASE = "rms_norm"
FILES = {
    "wrapper.py": '''\
"""rms_norm: functional form, and a small hierarchy of modules."""

from __future__ import annotations

import abc
import numbers
import typing

import torch
from torch import Tensor, nn

from workbench_kernels.launch import check, check_shape, check_width
from workbench_kernels.rms_norm.kernel import rms_norm as _rms_norm

DEFAULT_EPS: typing.Final[float] = 1e-06


def rms_norm(x: Tensor, weight: Tensor, eps: float = DEFAULT_EPS) -> Tensor:
    """Root mean square norm over the last dimension."""
    check("rms_norm", x=x, weight=weight)
    check_width("rms_norm", "x", x)
    check_shape("rms_norm", "weight", weight, tuple(x.shape[-1:]))
    y, *_statistics = _rms_norm(x, weight, eps)
    return y


class _Norm(nn.Module, abc.ABC):
    """What norms over the last dimension have in common."""

    eps: float
    weight: nn.Parameter

    def __init__(self, width: int | tuple[int, ...], eps: float | None = None) -> None:
        super().__init__()
        if isinstance(width, numbers.Integral):
            width = (int(width),)
        if len(width) != 1:
            raise ValueError(f"only the last dimension can be normalised, not {width}")
        self.normalized_shape = tuple(width)
        self.eps = DEFAULT_EPS if eps is None else eps
        self.weight = nn.Parameter(torch.empty(self.normalized_shape))
        self.reset_parameters()

    @abc.abstractmethod
    def reset_parameters(self) -> None: ...

    @property
    def width(self) -> int:
        """The size of the last dimension."""
        return self.normalized_shape[-1]

    def extra_repr(self) -> str:
        words = (f"{self.width}", f"eps={self.eps}")
        return ", ".join(words)


class RmsNorm(_Norm):
    """Module form of :func:`rms_norm`."""

    def reset_parameters(self) -> None:
        nn.init.constant_(self.weight, 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return rms_norm(x, self.weight, eps=self.eps)

    @classmethod
    def from_torch(cls, other: nn.Module) -> RmsNorm:
        """The same norm as a `torch.nn.RMSNorm`."""
        made = cls(other.normalized_shape, other.eps)
        made.load_state_dict(other.state_dict())
        return made
''',
}
