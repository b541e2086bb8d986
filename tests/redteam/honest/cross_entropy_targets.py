"""Another op: cross entropy per row with integer targets, some of them ignored, a keyword of type
int; the gradient of the logits is computed in the forward, Liger's way, and scaled in the backward.
"""

BASE = "cross_entropy"
FILES = {
    "spec.py": '''\
import torch
from torch import Tensor

from workbench_kernels.spec import OpSpec, Traffic


def cross_entropy(
    logits: Tensor, target: Tensor, smoothing: float = 0.1, *, ignore: int = 2
) -> Tensor:
    """The loss of each row, 0 where the target is `ignore`."""
    wide = logits if logits.dtype == torch.float64 else logits.float()
    logp = torch.log_softmax(wide, -1)
    nll = -logp.gather(-1, target.unsqueeze(-1)).squeeze(-1)
    loss = (1 - smoothing) * nll - smoothing * logp.mean(-1)
    return torch.where(target == ignore, 0.0, loss).to(logits.dtype)


def inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return 2 * torch.randn(rows, cols), torch.randint(cols, (rows,))


SPEC = OpSpec(
    name="cross_entropy",
    tier=2,
    reference=cross_entropy,
    inputs=inputs,
    tensors=("logits", "target"),
    differentiable=("logits",),
    parameters={"smoothing": 0.1},
    forward=Traffic(reads=1, writes=0),
    backward=Traffic(reads=1, writes=1),
    shapes=((2, 8), (7, 33), (40, 100), (3, 2050)),
    sweep=((4096, 32000),),
)
''',
    "kernel.py": '''\
"""Cross entropy of rows; the forward writes the gradient too, which the backward scales."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels import numerics
from workbench_kernels.launch import device_of

LIB = "workbench_kernels"


@triton.jit
def ce_forward(
    loss_ptr, grad_ptr, logits_ptr, target_ptr, smoothing, ignore, n_cols, BLOCK: tl.constexpr
):
    row = tl.program_id(0).to(tl.int64)
    logits_ptr += row * n_cols
    grad_ptr += row * n_cols
    target = tl.load(target_ptr + row)
    cols = tl.arange(0, BLOCK)
    mask = cols < n_cols
    x = tl.load(logits_ptr + cols, mask=mask, other=float("-inf")).to(tl.float32)
    peak = tl.reduce(x, 0, numerics.maximum)
    shifted = x - peak
    e = tl.exp(shifted)
    total = tl.sum(e, 0)
    log_total = tl.log(total)
    hit = cols == target
    nll = log_total - tl.sum(tl.where(hit, shifted, 0.0), 0)
    flat = log_total - tl.sum(tl.where(mask, shifted, 0.0), 0) / n_cols
    loss = (1 - smoothing) * nll + smoothing * flat
    p = e / total
    grad = (1 - smoothing) * (p - tl.where(hit, 1.0, 0.0)) + smoothing * (p - 1.0 / n_cols)
    counts = target != ignore
    scale = tl.where(counts, 1.0, 0.0)  # by a product, as PyTorch: a NaN in an ignored row shows
    tl.store(loss_ptr + row, tl.where(counts, loss, 0.0).to(loss_ptr.dtype.element_ty))
    tl.store(grad_ptr + cols, grad * scale, mask=mask)


@triton.jit
def ce_scale(out_ptr, grad_ptr, dloss_ptr, n_rows, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    dloss = tl.load(dloss_ptr + row).to(tl.float32)
    grad = tl.load(grad_ptr + row * n_cols + cols, mask=cols < n_cols)
    out = grad * dloss
    tl.store(out_ptr + row * n_cols + cols, out.to(out_ptr.dtype.element_ty), mask=cols < n_cols)


@torch.library.custom_op(f"{LIB}::cross_entropy", mutates_args=())
def forward(
    logits: Tensor, target: Tensor, smoothing: float, ignore: int
) -> tuple[Tensor, Tensor]:
    logits, target = logits.contiguous(), target.contiguous()
    n_cols = logits.size(-1)
    loss = logits.new_empty(target.size())
    grad = torch.empty_like(logits, dtype=torch.float32)
    if loss.numel():
        with device_of(logits):
            ce_forward[loss.numel(),](
                loss, grad, logits, target, smoothing, ignore, n_cols,
                BLOCK=triton.next_power_of_2(n_cols),
            )
    return loss, grad


@forward.register_fake
def _(logits, target, smoothing, ignore):
    grad = torch.empty_like(
        logits, dtype=torch.float32, memory_format=torch.contiguous_format
    )
    return logits.new_empty(target.size()), grad


@torch.library.custom_op(f"{LIB}::cross_entropy_backward", mutates_args=())
def backward(dloss: Tensor, grad: Tensor) -> Tensor:
    n_cols = grad.size(-1)
    dloss = dloss.contiguous()
    out = torch.empty_like(grad, dtype=dloss.dtype)
    if out.numel():
        block = min(1024, triton.next_power_of_2(n_cols))
        with device_of(grad):
            ce_scale[dloss.numel(), triton.cdiv(n_cols, block)](
                out, grad, dloss, dloss.numel(), n_cols, BLOCK=block
            )
    return out


@backward.register_fake
def _(dloss, grad):
    return torch.empty_like(grad, dtype=dloss.dtype)


def setup_context(ctx, inputs, output):
    _, grad = output
    ctx.mark_non_differentiable(grad)
    ctx.save_for_backward(grad)


def differentiate(ctx, dloss, _):
    return backward(dloss, *ctx.saved_tensors), None, None, None


forward.register_autograd(differentiate, setup_context=setup_context)
''',
    "wrapper.py": '''\
"""Cross entropy with integer targets."""

import torch
from torch import Tensor, nn

from workbench_kernels.cross_entropy import kernel
from workbench_kernels.launch import check, check_shape, check_width


def cross_entropy(
    logits: Tensor, target: Tensor, smoothing: float = 0.1, *, ignore: int = 2
) -> Tensor:
    """Loss of each row of `logits`, (..., classes), for `target`, (...) int64.

    Raises:
        TypeError: logits of an unsupported dtype, a target that is not int64.
        ValueError: shapes that don't fit, or other devices.
    """
    check("cross_entropy", logits=logits)
    if target.dtype is not torch.int64:
        raise TypeError(f"cross_entropy: target is {target.dtype}, expected torch.int64")
    if target.device != logits.device:
        raise ValueError("cross_entropy: target is on another device than logits")
    check_width("cross_entropy", "logits", logits)
    check_shape("cross_entropy", "target", target, logits.shape[:-1])
    loss, _grad = kernel.forward(logits, target, smoothing, ignore)
    return loss


class CrossEntropy(nn.Module):
    def __init__(self, smoothing: float = 0.1, ignore: int = 2) -> None:
        super().__init__()
        self.smoothing, self.ignore = smoothing, ignore

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        return cross_entropy(logits, target, self.smoothing, ignore=self.ignore)
''',
    "test": """\
import math

import pytest
import torch
import torch.nn.functional as F

from workbench_kernels import testing
from workbench_kernels.cross_entropy.spec import SPEC
from workbench_kernels.cross_entropy.wrapper import CrossEntropy, cross_entropy

DEVICE = testing.device()


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_cases(case):
    testing.check_case(SPEC, cross_entropy, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layouts(layout):
    testing.check_layout(SPEC, cross_entropy, layout)


def test_torch_op():
    testing.check_torch_op(SPEC, cross_entropy)


@pytest.mark.parametrize("ignore", [-100, 0, 5])
@pytest.mark.parametrize("smoothing", [0.0, 0.3])
def test_like_pytorch(ignore, smoothing):
    logits = torch.randn(32, 11, device=DEVICE, requires_grad=True)
    target = torch.randint(11, (32,), device=DEVICE)
    ours = cross_entropy(logits, target, smoothing, ignore=ignore)
    theirs = F.cross_entropy(
        logits, target, reduction="none", label_smoothing=smoothing, ignore_index=ignore
    )
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    dy = torch.randn_like(ours)
    torch.testing.assert_close(
        *(torch.autograd.grad(y, logits, dy)[0] for y in (ours, theirs)), rtol=1e-5, atol=1e-6
    )


def test_uniform():
    loss = cross_entropy(torch.zeros(3, 16, device=DEVICE), torch.tensor([0, 2, 15], device=DEVICE))
    assert loss.tolist() == pytest.approx([math.log(16), 0.0, math.log(16)])


def test_module():
    logits, target = testing.draw(SPEC, 7, 33, torch.float32)
    module = CrossEntropy(0.25, ignore=4)
    assert torch.equal(module(logits, target), cross_entropy(logits, target, 0.25, ignore=4))


def test_refusals():
    logits, target = testing.draw(SPEC, 7, 33, torch.float32)
    with pytest.raises(TypeError, match="int32"):
        cross_entropy(logits, target.int())
    with pytest.raises(ValueError, match="target has shape"):
        cross_entropy(logits, target[:-1])
    with pytest.raises(TypeError, match="float64"):
        cross_entropy(logits.double(), target)
    with pytest.raises(ValueError, match="last dimension"):
        cross_entropy(logits[:, :0], target)
""",
}
