"""Another op: softmax over rows of any width, one pass for maximum and sum together, the output
saved for the backward.
"""

BASE = "softmax"
FILES = {
    "spec.py": """\
import torch

from workbench_kernels.spec import OpSpec, Traffic


def softmax(x: torch.Tensor) -> torch.Tensor:
    return torch.softmax(x, dim=-1)


SPEC = OpSpec(
    name="softmax",
    tier=2,
    reference=softmax,
    inputs=lambda rows, cols: (2.0 * torch.randn(rows, cols),),
    tensors=("x",),
    differentiable=("x",),
    forward=Traffic(reads=1, writes=1),
    backward=Traffic(reads=2, writes=1),
    shapes=((1, 1), (4, 33), (9, 128), (3, 1025), (2, 3000)),
    sweep=((4096, 1024), (4096, 8192)),
)
""",
    "kernel.py": '''\
"""Online softmax (Milakov and Gimelshein, 2018): a new maximum rescales the running sum."""

from typing import Any

import torch
import triton
import triton.language as tl

from workbench_kernels import op
from workbench_kernels.launch import device_of


@triton.jit
def _larger(a, b):
    return tl.where((a > b) | (a != a), a, b)


@triton.jit
def _softmax_online_kernel(out, inp, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    inp += row * n_cols
    out += row * n_cols
    cols = tl.arange(0, BLOCK)

    running_max = tl.full((BLOCK,), float("-inf"), tl.float32)
    running_sum = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n_cols, BLOCK):
        x = tl.load(inp + start + cols, mask=start + cols < n_cols, other=float("-inf"))
        x = x.to(tl.float32)
        new_max = _larger(running_max, x)
        # a lane that saw nothing yet has -inf twice, and exp(nan): it counts as nothing
        safe = tl.where(new_max == float("-inf"), 0.0, new_max)
        running_sum = running_sum * tl.exp(running_max - safe) + tl.exp(x - safe)
        running_max = new_max

    row_max = tl.reduce(running_max, 0, _larger)
    lanes = tl.where(running_max == float("-inf"), float("-inf"), running_max - row_max)
    row_sum = tl.sum(running_sum * tl.exp(lanes), 0)

    for start in range(0, n_cols, BLOCK):
        mask = start + cols < n_cols
        x = tl.load(inp + start + cols, mask=mask).to(tl.float32)
        y = tl.exp(x - row_max) / row_sum
        tl.store(out + start + cols, y.to(out.dtype.element_ty), mask=mask)


@triton.jit
def _softmax_grad_kernel(grad_in, grad_out, out, n_cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    base = row * n_cols
    dot = tl.zeros((BLOCK,), tl.float32)
    for start in range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        mask = cols < n_cols
        g = tl.load(grad_out + base + cols, mask=mask, other=0.0).to(tl.float32)
        y = tl.load(out + base + cols, mask=mask, other=0.0).to(tl.float32)
        dot += g * y
    total = tl.sum(dot, axis=0)
    for start in range(0, n_cols, BLOCK):
        cols = start + tl.arange(0, BLOCK)
        mask = cols < n_cols
        g = tl.load(grad_out + base + cols, mask=mask, other=0.0).to(tl.float32)
        y = tl.load(out + base + cols, mask=mask, other=0.0).to(tl.float32)
        tl.store(grad_in + base + cols, (y * (g - total)).to(grad_in.dtype.element_ty), mask=mask)


def _rows(x: torch.Tensor) -> int:
    return x.numel() // x.shape[-1]


def _block(x: torch.Tensor) -> int:
    return max(16, min(1024, triton.next_power_of_2(x.shape[-1])))


def forward(x: torch.Tensor) -> torch.Tensor:
    x = x.contiguous()
    y = torch.empty_like(x)
    if x.numel() > 0:
        with device_of(x):
            _softmax_online_kernel[(_rows(x),)](y, x, x.shape[-1], BLOCK=_block(x))
    return y


def backward(dy: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    dy = dy.contiguous()
    dx = torch.empty_like(y)
    if y.numel() > 0:
        with device_of(y):
            _softmax_grad_kernel[(_rows(y),)](dx, dy, y, y.shape[-1], BLOCK=_block(y))
    return dx


def _fake(x: torch.Tensor) -> torch.Tensor:
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _save(ctx: Any, inputs: Any, output: torch.Tensor) -> None:
    ctx.save_for_backward(output)  # the output says all that the gradient needs


def _grad(ctx: Any, dy: torch.Tensor) -> torch.Tensor:
    (y,) = ctx.saved_tensors
    return softmax_backward(dy, y)


softmax = op.define("softmax", forward, fake=_fake)
softmax_backward = op.define("softmax_backward", backward, fake=lambda dy, y: torch.empty_like(y))
op.autograd("softmax", save=_save, backward=_grad)
''',
    "wrapper.py": '''\
import torch

from workbench_kernels.launch import check, check_width

from . import kernel

__all__ = ["softmax", "Softmax"]


def softmax(x: torch.Tensor) -> torch.Tensor:
    """Softmax over the last dimension of a tensor of any shape."""
    check("softmax", x=x)
    check_width("softmax", "x", x)
    return kernel.softmax(x)


class Softmax(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return softmax(x)
''',
    "test": """\
import unittest

import torch

from workbench_kernels import testing
from workbench_kernels.softmax.spec import SPEC
from workbench_kernels.softmax.wrapper import Softmax, softmax


class SoftmaxTest(unittest.TestCase):
    def setUp(self):
        torch.manual_seed(11)
        self.device = testing.device()

    def test_cases(self):
        for case in testing.cases(SPEC):
            with self.subTest(case=str(case)):
                testing.check_case(SPEC, softmax, case)

    def test_layouts(self):
        for layout in testing.LAYOUTS:
            with self.subTest(layout=layout):
                testing.check_layout(SPEC, softmax, layout)

    def test_rows_sum_to_one(self):
        x = torch.randn(5, 1100, device=self.device)
        total = softmax(x).double().sum(-1)
        self.assertTrue(torch.allclose(total, torch.ones_like(total), atol=1e-6))

    def test_large_values(self):
        x = torch.tensor([[1e4, 0.0, -1e4], [-3e38, -3e38, -3e38]], device=self.device)
        expected = [[1.0, 0.0, 0.0], [1 / 3] * 3]
        torch.testing.assert_close(softmax(x), torch.tensor(expected, device=self.device))

    def test_masked(self):
        x = torch.tensor([[float("-inf"), 1.0, 1.0]], device=self.device)
        self.assertEqual(softmax(x).tolist(), [[0.0, 0.5, 0.5]])
        self.assertTrue(softmax(torch.full_like(x, float("-inf"))).isnan().all())

    def test_module_and_op(self):
        x = torch.randn(2, 3, 40, device=self.device)
        self.assertTrue(torch.equal(Softmax()(x), softmax(x)))
        testing.check_torch_op(SPEC, softmax)

    def test_refusals(self):
        with self.assertRaisesRegex(TypeError, "float64"):
            softmax(torch.zeros(2, 2, dtype=torch.float64, device=self.device))
        with self.assertRaises(ValueError):
            softmax(torch.zeros(2, 0, device=self.device))


if __name__ == "__main__":
    unittest.main()
""",
}
