"""What an op is, as one record: its truth, the inputs that test it, and the bytes it must move.

The spec feeds the op's test, the judge, the benchmark and the documentation; nothing about an op is
declared twice.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

# A setting of a keyword argument; None for a tensor leaves that tensor out.
Option = float | int | bool | str | None


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What a direction can't avoid: transfers, each input read once and each output written once,
    and the arithmetic of matrix products.

    `reads` and `writes` count tensors of the full shape (rows, cols); smaller tensors (a weight,
    one value per row) are left out: they vanish against the full ones. bytes = (reads + writes) ·
    rows · cols · itemsize. `flops` are the operations of matrix products for each element of that
    shape, two for each product of numbers that is added up; other arithmetic hides behind the
    transfers.
    """

    reads: float
    writes: float
    flops: float = 0.0

    def bytes(self, elements: int, dtype: torch.dtype) -> float:
        """Bytes that must move for `elements` elements of `dtype`."""
        return (self.reads + self.writes) * elements * dtype.itemsize


@dataclass(frozen=True, kw_only=True)
class OpSpec:
    """One op. `reference(**named, **parameters)` is the truth, in the precision of its inputs, with
    `named` the tensors of `inputs(rows, cols)` by their names `tensors`.

    `inputs` draws with the global generator on the default device; floating tensors come in the
    default dtype. `tensors` says what arguments of the reference they are, and of the op: both are
    called by name, so the order of arguments is their own. The module is called by name too, with
    those that are not its parameters. `differentiable` are those that have a gradient, `mutates`
    those the op may overwrite. `variants` are other settings of the
    reference's keywords, each under a name; a tensor that is None there is left out. `shapes` are
    the (rows, cols) every check covers; `sweep` those a benchmark times.

    `products` says that the op is built around matrix products: it may use PyTorch's, and wait for
    the GPU to know how many rows there are to multiply (`products.py`); all else is for its own
    kernels. Its rows and columns are each a side of some input, and under autocast it computes with
    inputs that are cast.
    """

    name: str
    tier: int
    reference: Callable[..., Tensor | tuple[Tensor, ...]]
    inputs: Callable[[int, int], tuple[Tensor, ...]]
    tensors: tuple[str, ...]
    differentiable: tuple[str, ...]
    mutates: tuple[str, ...] = ()
    parameters: Mapping[str, float] = field(default_factory=dict)
    variants: Mapping[str, Mapping[str, Option]] = field(default_factory=dict)
    products: bool = False
    forward: Traffic
    backward: Traffic
    shapes: tuple[tuple[int, int], ...]
    sweep: tuple[tuple[int, int], ...]
    dtypes: tuple[torch.dtype, ...] = (torch.float32, torch.bfloat16, torch.float16)
