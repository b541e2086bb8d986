"""Another op: bias and exact GELU as Megatron fuses them, the bias' gradient by a kernel down the
columns; `tl.erf`, integer division of offsets for the bias.
"""

BASE = "bias_gelu"
FILES = {
    "spec.py": """\
import torch
import torch.nn.functional as F

from workbench_kernels.spec import OpSpec, Traffic


def bias_gelu(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    return F.gelu(x.float() + bias.float()).to(x.dtype)


def inputs(rows: int, cols: int) -> tuple[torch.Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(cols)


SPEC = OpSpec(
    name="bias_gelu",
    tier=2,
    reference=bias_gelu,
    inputs=inputs,
    tensors=("x", "bias"),
    differentiable=("x", "bias"),
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((1, 1), (4, 33), (70, 50), (2, 2100)),
    sweep=((8192, 4096),),
)
""",
    "kernel.py": '''\
import torch
import triton
import triton.language as tl

INV_SQRT2: tl.constexpr = 0.7071067811865476
INV_SQRT_2PI: tl.constexpr = 0.3989422804014327
BLOCK = 1024


@triton.jit
def gelu_fwd(out_ptr, x_ptr, bias_ptr, numel, cols, BLOCK: tl.constexpr):
    idx = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = idx < numel
    v = tl.load(x_ptr + idx, mask=mask).to(tl.float32)
    v += tl.load(bias_ptr + idx % cols, mask=mask).to(tl.float32)
    out = 0.5 * v * (1.0 + tl.erf(v * INV_SQRT2))
    tl.store(out_ptr + idx, out.to(out_ptr.dtype.element_ty), mask=mask)


@triton.jit
def gelu_bwd(dx_ptr, dz_ptr, dy_ptr, x_ptr, bias_ptr, numel, cols, BLOCK: tl.constexpr):
    idx = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    mask = idx < numel
    v = tl.load(x_ptr + idx, mask=mask).to(tl.float32)
    v += tl.load(bias_ptr + idx % cols, mask=mask).to(tl.float32)
    cdf = 0.5 * (1.0 + tl.erf(v * INV_SQRT2))
    pdf = tl.exp(-0.5 * v * v) * INV_SQRT_2PI
    dz = tl.load(dy_ptr + idx, mask=mask).to(tl.float32) * (cdf + v * pdf)
    if dx_ptr is not None:
        tl.store(dx_ptr + idx, dz.to(dx_ptr.dtype.element_ty), mask=mask)
    if dz_ptr is not None:  # in float32, for the sum over rows
        tl.store(dz_ptr + idx, dz, mask=mask)


@triton.jit
def column_sums(out_ptr, dz_ptr, rows, cols, ROWS: tl.constexpr, COLS: tl.constexpr):
    c = tl.program_id(0) * COLS + tl.arange(0, COLS)
    total = tl.zeros((ROWS, COLS), tl.float32)
    for r0 in range(0, rows, ROWS):
        r = r0 + tl.arange(0, ROWS)
        ok = (r[:, None] < rows) & (c[None, :] < cols)
        total += tl.load(dz_ptr + r[:, None].to(tl.int64) * cols + c[None, :], mask=ok, other=0.0)
    tl.store(out_ptr + c, tl.sum(total, 0).to(out_ptr.dtype.element_ty), mask=c < cols)


def _on(x):
    """Triton launches on the current device."""
    return torch.cuda.device_of(x)


@torch.library.custom_op("workbench_kernels::bias_gelu", mutates_args=())
def bias_gelu(x: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    x, bias = x.contiguous(), bias.contiguous()
    out = torch.empty_like(x)
    if x.numel():
        with _on(x):
            gelu_fwd[(triton.cdiv(x.numel(), BLOCK),)](
                out, x, bias, x.numel(), bias.numel(), BLOCK=BLOCK
            )
    return out


@torch.library.custom_op("workbench_kernels::bias_gelu_grad", mutates_args=())
def bias_gelu_grad(
    dy: torch.Tensor, x: torch.Tensor, bias: torch.Tensor, wanted: list[bool]
) -> list[torch.Tensor]:
    dy, x, bias = dy.contiguous(), x.contiguous(), bias.contiguous()
    want_x, want_bias = wanted
    dx = torch.empty_like(x) if want_x else None
    dz = torch.empty_like(x, dtype=torch.float32) if want_bias else None
    dbias = torch.empty_like(bias) if want_bias else None
    cols = bias.numel()
    with _on(x):
        if x.numel():
            gelu_bwd[(triton.cdiv(x.numel(), BLOCK),)](
                dx, dz, dy, x, bias, x.numel(), cols, BLOCK=BLOCK
            )
        if dbias is not None:
            column_sums[(triton.cdiv(cols, 64),)](
                dbias, dz, x.numel() // cols, cols, ROWS=32, COLS=64
            )
    return [g for g in (dx, dbias) if g is not None]


@bias_gelu.register_fake
def _(x, bias):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@bias_gelu_grad.register_fake
def _(dy, x, bias, wanted):
    return [t.new_empty(t.shape) for t, want in zip((x, bias), wanted) if want]


def _setup(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _backward(ctx, dy):
    wanted = list(ctx.needs_input_grad)
    grads = iter(bias_gelu_grad(dy, *ctx.saved_tensors, wanted))
    return tuple(next(grads) if want else None for want in wanted)


def _once(ctx, *_):
    raise NotImplementedError("bias_gelu is differentiable once")


bias_gelu.register_autograd(_backward, setup_context=_setup)
bias_gelu_grad.register_autograd(_once)
''',
    "wrapper.py": '''\
import torch
from torch import nn

from workbench_kernels.launch import check, check_shape, check_width

from . import kernel


def bias_gelu(x, bias):
    """gelu(x + bias), the exact one."""
    check("bias_gelu", x=x, bias=bias)
    check_width("bias_gelu", "x", x)
    check_shape("bias_gelu", "bias", bias, x.shape[-1:])
    return kernel.bias_gelu(x, bias)


class BiasGelu(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.empty(width))
        with torch.no_grad():
            bound = width**-0.5
            self.bias.uniform_(-bound, bound)

    def forward(self, x):
        return bias_gelu(x, self.bias)
''',
    "test": """\
import pytest
import torch

from workbench_kernels import testing
from workbench_kernels.bias_gelu.spec import SPEC
from workbench_kernels.bias_gelu.wrapper import BiasGelu, bias_gelu


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_case(case):
    testing.check_case(SPEC, bias_gelu, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layout(layout):
    testing.check_layout(SPEC, bias_gelu, layout)


def test_op():
    testing.check_torch_op(SPEC, bias_gelu)
    testing.check_sizes(SPEC, bias_gelu)


def test_module():
    x, _ = testing.draw(SPEC, 4, 33, torch.float32)
    module = BiasGelu(33).to(x.device)
    assert torch.equal(module(x), bias_gelu(x, module.bias))


def test_refusals():
    x, bias = testing.draw(SPEC, 4, 33, torch.float32)
    with pytest.raises(TypeError):
        bias_gelu(x.double(), bias.double())
    with pytest.raises(TypeError):
        bias_gelu(x, bias.half())
    with pytest.raises(ValueError):
        bias_gelu(x[:, :0], bias[:0])
""",
}
