"""Its tests are worked out by hand, with nothing of the library's own testing but the bound."""

BASE = "relu2"
FILES = {
    "test": '''\
"""relu2 at values worked out by hand, and against float64."""

from __future__ import annotations

import pytest
import torch

from workbench_kernels.relu2.wrapper import Relu2, relu2

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
DTYPES = {torch.float32: 2**-22, torch.bfloat16: 2**-8, torch.float16: 2**-10}
SIZES = [1, 2, 31, 1000, 2048, 2049, 5000]


def draw(n: int, dtype: torch.dtype) -> torch.Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(n)).to(DEVICE, dtype)


@pytest.mark.parametrize("dtype", DTYPES)
def test_at_known_values(dtype: torch.dtype) -> None:
    x = torch.tensor([-2.0, -0.0, 0.0, 0.5, 3.0], device=DEVICE, dtype=dtype)
    assert relu2(x).tolist() == [0.0, 0.0, 0.0, 0.25, 9.0]


def test_gradient_at_known_values() -> None:
    x = torch.tensor([-2.0, 0.0, 0.5, 3.0], device=DEVICE, requires_grad=True)
    relu2(x).backward(torch.tensor([7.0, 7.0, 1.0, -2.0], device=DEVICE))
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 0.0, 1.0, -12.0]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("dtype", DTYPES)
def test_near_float64(n: int, dtype: torch.dtype) -> None:
    x = draw(n, dtype).requires_grad_()
    dy = draw(n + 1, dtype)[1:]
    y = relu2(x)
    (dx,) = torch.autograd.grad(y, x, dy)
    exact = x.detach().double().clamp(min=0)
    tolerance = {"rtol": DTYPES[dtype], "atol": 1e-30 if dtype is not torch.float16 else 1e-7}
    torch.testing.assert_close(y.detach().double(), exact.square(), **tolerance)
    torch.testing.assert_close(dx.double(), 2 * exact * dy.double(), **tolerance)


def test_nan_and_infinity() -> None:
    x = torch.tensor([float("nan"), float("inf"), -float("inf")], device=DEVICE)
    y = relu2(x)
    assert y.isnan().tolist() == [True, False, False]
    assert y[1:].tolist() == [float("inf"), 0.0]


def test_strided() -> None:
    x = draw(600, torch.float32).view(20, 30)
    dy = draw(601, torch.float32)[1:].view(30, 20).mT
    for view in (x.mT.contiguous().mT, x[:, ::2], x[:1].expand(20, 30)):
        leaf = view.detach().requires_grad_()
        upstream = dy[:, : view.shape[1]]
        (got,) = torch.autograd.grad(relu2(leaf), leaf, upstream)
        assert torch.equal(relu2(view), relu2(view.contiguous()))
        assert torch.equal(got, 2 * view.clamp(min=0) * upstream)


def test_empty_and_scalar() -> None:
    assert relu2(torch.empty(0, 3, device=DEVICE)).shape == (0, 3)
    assert relu2(torch.tensor(3.0, device=DEVICE)).item() == 9.0


def test_compiles_as_one_node() -> None:
    x = draw(100, torch.float32)
    assert torch.equal(torch.compile(relu2, fullgraph=True, backend="aot_eager")(x), relu2(x))


def test_module() -> None:
    x = draw(10, torch.float32)
    assert torch.equal(Relu2()(x), relu2(x))


def test_refuses_float64() -> None:
    with pytest.raises(TypeError, match="float64"):
        relu2(torch.ones(3, dtype=torch.float64, device=DEVICE))
''',
}
