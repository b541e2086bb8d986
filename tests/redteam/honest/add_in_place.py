"""Another op: one tensor is scaled and added into another, in place, declared with `mutates_args`;
two keyword parameters, no gradient.
"""

BASE = "axpby"
FILES = {
    "spec.py": '''\
import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def axpby(y: Tensor, x: Tensor, alpha: float = 0.75, beta: float = 0.5) -> Tensor:
    """alpha · x + beta · y"""
    return (alpha * x.float() + beta * y.float()).to(y.dtype)


SPEC = OpSpec(
    name="axpby",
    tier=1,
    reference=axpby,
    inputs=lambda rows, cols: (torch.randn(rows, cols), torch.randn(rows, cols)),
    tensors=("y", "x"),
    differentiable=(),
    mutates=("y",),
    parameters={"alpha": 0.75, "beta": 0.5},
    forward=Traffic(reads=2, writes=1),
    backward=Traffic(reads=0, writes=0),
    shapes=((1, 1), (3, 100), (65, 33), (2, 3000)),
    sweep=((8192, 4096),),
)
''',
    "kernel.py": '''\
"""y ← alpha · x + beta · y, as an optimizer's or an average's update."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.launch import device_of


@triton.jit
def _axpby(y_ptr, x_ptr, alpha, beta, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    x = tl.load(x_ptr + i, inside).to(tl.float32)
    y = tl.load(y_ptr + i, inside).to(tl.float32)
    out = tl.fma(alpha.to(tl.float32), x, beta * y)
    tl.store(y_ptr + i, out.to(y_ptr.dtype.element_ty), inside)


@torch.library.custom_op("workbench_kernels::axpby_", mutates_args={"y"})
def axpby_(y: Tensor, x: Tensor, alpha: float, beta: float) -> None:
    # What isn't contiguous is updated in a copy, and copied back.
    target = y.contiguous()
    x = x.contiguous()
    n = target.numel()
    if n:
        with device_of(y):
            _axpby[(triton.cdiv(n, 1024),)](target, x, alpha, beta, n, BLOCK=1024)
    if target is not y:
        y.copy_(target)


@axpby_.register_fake
def _(y, x, alpha, beta):
    return None
''',
    "wrapper.py": '''\
import torch
from torch import Tensor, nn

from workbench_kernels.axpby import kernel
from workbench_kernels.launch import check, check_shape


def axpby(y: Tensor, x: Tensor, alpha: float = 0.75, beta: float = 0.5) -> Tensor:
    """Overwrite y with alpha · x + beta · y, and return it."""
    check("axpby", y=y, x=x)
    check_shape("axpby", "x", x, y.shape)
    if any(step == 0 for step, size in zip(y.stride(), y.shape) if size > 1):
        raise ValueError("axpby: y is expanded: its elements can't be written one by one")
    kernel.axpby_(y, x, alpha, beta)
    return y


class Axpby(nn.Module):
    def __init__(self, alpha: float = 0.75, beta: float = 0.5) -> None:
        super().__init__()
        self.alpha, self.beta = alpha, beta

    @torch.no_grad()
    def forward(self, y: Tensor, x: Tensor) -> Tensor:
        return axpby(y, x, self.alpha, self.beta)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.axpby.spec import SPEC
from workbench_kernels.axpby.wrapper import Axpby, axpby


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, axpby, case)


@pytest.mark.parametrize("layout", sorted(set(testing.LAYOUTS) - {"expanded"}))
def test_layout(layout):
    testing.check_layout(SPEC, axpby, layout)


def test_in_place():
    y, x = testing.draw(SPEC, 3, 100, torch.float32)
    x_before, wide = x.clone(), torch.zeros(3, 200, device=x.device)
    view = wide[:, ::2]
    view.copy_(y)
    expected = 2.0 * x - y
    assert axpby(view, x, 2.0, -1.0) is view
    torch.testing.assert_close(view, expected)
    assert not wide[:, 1::2].any()
    assert torch.equal(x, x_before)


def test_module():
    y, x = testing.draw(SPEC, 3, 100, torch.float32)
    assert torch.equal(Axpby(0.1, 0.9)(y.clone(), x), axpby(y, x, 0.1, 0.9))


def test_op():
    y, x = testing.draw(SPEC, 3, 100, torch.float32)
    torch.library.opcheck(torch.ops.workbench_kernels.axpby_.default, (y, x, 0.5, 0.25))


def test_refusals():
    y, x = testing.draw(SPEC, 3, 100, torch.float32)
    with pytest.raises(ValueError, match="expanded"):
        axpby(y[:1].expand(3, 100), x)
    with pytest.raises(ValueError, match="shape"):
        axpby(y, x[:1])
    with pytest.raises(TypeError):
        axpby(y, x.half())
    with pytest.raises(TypeError):
        axpby(y.double(), x.double())
""",
}
