"""Its tests are pytest classes with fixtures, parametrised over dtype and device, against formulas
in float64 and finite differences, with tolerances that are argued for.
"""

BASE = "swiglu"
FILES = {
    "test": '''\
"""Tests for swiglu.

Tolerances: the output is float32 arithmetic rounded once, so half an eps of the dtype, relative,
plus a few eps of float32 for exp; 1e-6 absolute, as the slope of silu has a zero.
"""

from __future__ import annotations

import itertools
import math
from copy import deepcopy
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from workbench_kernels.swiglu.wrapper import Swiglu, swiglu

DTYPES = [torch.float32, torch.float16, torch.bfloat16]
DEVICES = [
    pytest.param("cpu", marks=pytest.mark.skipif(torch.cuda.is_available(), reason="compiled")),
    pytest.param(
        "cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
    ),
]
SHAPES = [(1,), (7,), (3, 17), (2, 3, 5), (4, 1024), (1, 2048), (3, 2049)]


@dataclass
class Result:
    y: Tensor
    dgate: Tensor
    dup: Tensor


def tolerance(dtype: torch.dtype) -> dict[str, float]:
    eps = torch.finfo(dtype).eps
    return {"rtol": 0.51 * eps + 8 * torch.finfo(torch.float32).eps, "atol": 1e-6}


def exact(gate: Tensor, up: Tensor, dy: Tensor) -> Result:
    gate, up, dy = gate.double(), up.double(), dy.double()
    sig = 1 / (1 + torch.exp(-gate))
    return Result(gate * sig * up, dy * up * sig * (1 + gate * (1 - sig)), dy * gate * sig)


def ours(gate: Tensor, up: Tensor, dy: Tensor) -> Result:
    gate, up = (t.detach().clone().requires_grad_() for t in (gate, up))
    y = swiglu(gate, up)
    y.backward(dy)
    assert gate.grad is not None and up.grad is not None
    return Result(y.detach(), gate.grad, up.grad)


@pytest.fixture(params=DEVICES)
def device(request):
    return request.param


@pytest.fixture
def draw(device):
    generator = torch.Generator(device).manual_seed(1234)

    def _draw(*shape, dtype=torch.float32, scale=1.0):
        return (torch.randn(shape, device=device, generator=generator) * scale).to(dtype)

    return _draw


class TestValues:
    @pytest.mark.parametrize("dtype", DTYPES, ids=str)
    @pytest.mark.parametrize("shape", SHAPES, ids=lambda s: "x".join(map(str, s)))
    def test_against_float64(self, draw, shape, dtype):
        gate, up, dy = (draw(*shape, dtype=dtype) for _ in range(3))
        got, want = ours(gate, up, dy), exact(gate, up, dy)
        for name in ("y", "dgate", "dup"):
            value = vars_of(got)[name]
            assert value.dtype == dtype and value.shape == shape
            torch.testing.assert_close(value.double(), vars_of(want)[name], **tolerance(dtype))

    @pytest.mark.parametrize("x, y", [(0.0, 0.0), (1.0, 1 / (1 + math.exp(-1.0))), (-40.0, 0.0)])
    def test_known(self, device, x, y):
        one = torch.ones(1, device=device)
        assert swiglu(one * x, one).item() == pytest.approx(y, abs=1e-7)

    @pytest.mark.parametrize("scale", [1e-3, 30.0])
    def test_scales(self, draw, scale):
        gate, up, dy = (draw(64, scale=scale) for _ in range(3))
        torch.testing.assert_close(
            ours(gate, up, dy).y.double(), exact(gate, up, dy).y, rtol=1e-5, atol=1e-30
        )

    def test_nan(self, device):
        x = torch.tensor([math.nan, 1.0, 2.0], device=device)
        assert swiglu(x, torch.ones_like(x)).isnan().tolist() == [True, False, False]
        assert swiglu(torch.ones_like(x), x).isnan().tolist() == [True, False, False]


def vars_of(result: Result) -> dict[str, Tensor]:
    return {"y": result.y, "dgate": result.dgate, "dup": result.dup}


class TestGradients:
    def test_finite_differences(self, draw):
        """Central differences in float32, of a sum in float64: good to about h^2 + eps / h."""
        gate, up, dy = draw(5, 7), draw(5, 7), draw(5, 7)
        got, h = ours(gate, up, dy), 2.0**-7
        for i, j in itertools.product(range(5), range(7)):
            for tensor, grad in ((gate, got.dgate), (up, got.dup)):
                sides = []
                for sign in (1, -1):
                    moved = deepcopy(tensor)
                    moved[i, j] += sign * h
                    pair = (moved, up) if tensor is gate else (gate, moved)
                    sides.append((swiglu(*pair).double() * dy.double()).sum().item())
                assert grad[i, j].item() == pytest.approx((sides[0] - sides[1]) / (2 * h), abs=2e-3)

    @pytest.mark.parametrize("wanted", [(True, False), (False, True)])
    def test_one_gradient(self, draw, wanted):
        gate, up, dy = (draw(3, 40) for _ in range(3))
        leaves = [t.requires_grad_(w) for t, w in zip((gate, up), wanted)]
        swiglu(*leaves).backward(dy)
        assert [leaf.grad is not None for leaf in leaves] == list(wanted)
        full = ours(gate, up, dy)
        for leaf, grad in zip(leaves, (full.dgate, full.dup)):
            assert leaf.grad is None or torch.equal(leaf.grad, grad)

    def test_none(self, draw):
        with torch.no_grad():
            assert not swiglu(draw(3), draw(3)).requires_grad


class TestLayouts:
    def test_views(self, draw):
        base = draw(2, 12, 10)
        views = [base[0].T, base[0, :, ::2], base[1, 3:, 1:], base[0, :1].expand(12, 10)]
        for gate in views:
            up, dy = draw(*gate.shape), draw(*gate.shape[::-1]).T
            got, want = ours(gate, up, dy), exact(gate, up, dy)
            torch.testing.assert_close(got.y.double(), want.y, **tolerance(torch.float32))
            torch.testing.assert_close(got.dup.double(), want.dup, rtol=1e-5, atol=1e-6)

    def test_empty(self, device):
        empty = torch.empty(0, 5, device=device)
        assert swiglu(empty, empty).shape == (0, 5)


class TestInterface:
    def test_module(self, draw):
        gate, up = draw(3, 8), draw(3, 8)
        assert torch.equal(Swiglu()(gate, up), swiglu(gate, up))

    def test_opcheck(self, draw):
        op = torch.ops.workbench_kernels.swiglu.default
        torch.library.opcheck(op, (draw(3, 8).requires_grad_(), draw(3, 8).requires_grad_()))

    def test_compile(self, draw):
        gate, up = draw(3, 8), draw(3, 8)
        compiled = torch.compile(swiglu, fullgraph=True, backend="eager")
        assert torch.equal(compiled(gate, up), swiglu(gate, up))

    @pytest.mark.parametrize(
        "change, error",
        [
            (lambda g, u: (g.double(), u.double()), TypeError),
            (lambda g, u: (g, u.half()), TypeError),
            (lambda g, u: (g, u[:1]), ValueError),
        ],
    )
    def test_refuses(self, draw, change, error):
        with pytest.raises(error, match="swiglu: "):
            swiglu(*change(draw(3, 8), draw(3, 8)))
''',
}
