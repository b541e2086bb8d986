"""Declared in-place: the square of the positive part over the input's own memory, for inference.

`SPEC.mutates` names the inputs whose memory the op may write; the output may be one of them.
Overlapping memory (an expanded input) is refused, as PyTorch's own in-place functions refuse it.
"""

BASE = "relu2"
FILES = {
    "spec.py": '''\
"""relu2: its reference, the inputs that test it, the bytes it must move."""

from __future__ import annotations

import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def relu2(x: Tensor) -> Tensor:
    """y = relu(x)²."""
    return torch.relu(x).square()


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (torch.randn(rows, cols),)


SPEC = OpSpec(
    name="relu2",
    tier=1,
    reference=relu2,
    inputs=inputs,
    tensors=("x",),
    differentiable=(),
    mutates=("x",),
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=0, writes=0),
    shapes=((1, 1), (1, 128), (3, 1000), (128, 100), (7, 4097)),
    sweep=((1024, 4096), (8192, 4096), (8192, 14336)),
)
''',
    "kernel.py": '''\
"""relu2 over its input's memory: x ← relu(x)²

x: up to two dimensions with any strides, more if contiguous; float32, bfloat16 or float16.
Traffic per element: reads 1, writes 1.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import device_of

BLOCK = 2048


@triton.jit
def _relu2_inplace(X, n, n_cols, row_stride, col_stride, BLOCK: tl.constexpr):
    offsets = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = offsets < n
    places = (offsets // n_cols) * row_stride + (offsets % n_cols) * col_stride
    x = tl.load(X + places, mask=mask, other=0.0).to(tl.float32)
    relu = tl.where(x < 0.0, 0.0, x)
    tl.store(X + places, (relu * relu).to(X.dtype.element_ty), mask=mask)


def relu2_(x: Tensor) -> None:
    """Overwrite x."""
    rows = x if x.dim() == 2 else x.view(-1, x.shape[-1] if x.dim() else 1)
    n = x.numel()
    if n:
        with device_of(x):
            _relu2_inplace[(triton.cdiv(n, BLOCK),)](
                rows, n, rows.shape[1], rows.stride(0), rows.stride(1), BLOCK=BLOCK
            )


LIBRARY = torch.library.Library("workbench_kernels", "FRAGMENT")
LIBRARY.define("relu2_(Tensor(a!) x) -> ()", tags=(torch.Tag.pt2_compliant_tag,))
for device in ("CPU", "CUDA"):
    LIBRARY.impl("relu2_", relu2_, device)
torch.library.register_fake("workbench_kernels::relu2_", lambda x: None, lib=LIBRARY)
relu2_inplace = torch.ops.workbench_kernels.relu2_.default
''',
    "wrapper.py": '''\
"""relu2 for users: the functional form and the module, both over their input's memory."""

from __future__ import annotations

from torch import Tensor, nn

from workbench_kernels.launch import check
from workbench_kernels.relu2 import kernel


def relu2(x: Tensor) -> Tensor:
    """The square of the positive part, written over x and returned.

    x: any shape, float32, bfloat16 or float16, on a GPU.

    Raises:
        TypeError: an unsupported dtype.
        ValueError: a tensor that is not on a GPU, or whose elements share memory.
    """
    check("relu2", x=x)
    if any(stride == 0 and size > 1 for size, stride in zip(x.shape, x.stride(), strict=True)):
        raise ValueError("relu2: elements of x share memory; call it on a copy, x.clone()")
    kernel.relu2_inplace(x)
    return x


class Relu2(nn.Module):
    """Module form of :func:`relu2`."""

    def forward(self, x: Tensor) -> Tensor:
        return relu2(x)
''',
    "test": '''\
"""relu2 over its input's memory, against its reference in float64."""

from __future__ import annotations

import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.relu2.spec import SPEC
from workbench_kernels.relu2.wrapper import Relu2, relu2


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, relu2, case)


@pytest.mark.parametrize("layout", [name for name in testing.LAYOUTS if name != "expanded"])
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, relu2, layout)


def test_writes_over_its_input() -> None:
    (x,) = testing.draw(SPEC, 3, 1000, torch.float32)
    before = x.clone()
    y = relu2(x)
    assert y is x
    assert torch.equal(x, before.clamp(min=0).square())
    assert torch.equal(Relu2()(before), x)


def test_nan() -> None:
    (x,) = testing.draw(SPEC, 2, 8, torch.float32)
    x[0, 3] = float("nan")
    assert relu2(x).isnan().sum() == 1


def test_refuses_shared_memory() -> None:
    (x,) = testing.draw(SPEC, 3, 8, torch.float32)
    with pytest.raises(ValueError, match="share memory"):
        relu2(x[:1].expand(3, 8))


def test_refuses_float64() -> None:
    with pytest.raises(TypeError, match="relu2: x is torch.float64"):
        relu2(testing.draw(SPEC, 2, 8, torch.float64)[0])
''',
}
