"""Its tests compare by numpy.testing with formulas in numpy's float64, as kernel authors who come
from CUDA write them; a constant for the GPU, and a block that runs pytest on the file.
"""

BASE = "rms_norm"
FILES = {
    "test": '''\
import sys
from fractions import Fraction

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

from workbench_kernels.rms_norm.wrapper import RmsNorm, rms_norm

HAS_CUDA = torch.cuda.is_available()
DEVICE = "cuda" if HAS_CUDA else "cpu"
EPS = 1e-6
needs_gpu = pytest.mark.skipif(not HAS_CUDA, reason="needs a GPU")
TOLERANCES = {
    torch.float32: dict(rtol=2e-6, atol=1e-6),
    torch.float16: dict(rtol=6e-4, atol=1e-6),
    torch.bfloat16: dict(rtol=4.1e-3, atol=1e-6),
}


def reference(x: np.ndarray, weight: np.ndarray, dy: np.ndarray, eps: float = EPS):
    """y, dx and dweight in float64."""
    rstd = 1 / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)
    wdy = weight * dy
    dx = rstd * wdy - x * rstd**3 * np.mean(wdy * x, axis=-1, keepdims=True)
    return x * rstd * weight, dx, (dy * x * rstd).reshape(-1, x.shape[-1]).sum(axis=0)


def to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().double().cpu().numpy()


@pytest.fixture
def rng(request) -> np.random.Generator:
    return np.random.default_rng(20240229)


def tensors(rng, shape, dtype):
    x, dy = (torch.from_numpy(rng.standard_normal(shape)).to(DEVICE, dtype) for _ in range(2))
    weight = torch.from_numpy(rng.uniform(0.5, 1.5, shape[-1:])).to(DEVICE, dtype)
    return x.requires_grad_(), weight.requires_grad_(), dy


@pytest.mark.parametrize("dtype", TOLERANCES, ids=lambda d: str(d).split(".")[-1])
@pytest.mark.parametrize("shape", [(1, 1), (3, 31), (2, 5, 64), (1, 4097), (130, 7)])
@pytest.mark.parametrize("eps", [EPS, 0.1])
def test_forward_and_backward(rng, shape, dtype, eps):
    x, weight, dy = tensors(rng, shape, dtype)
    y = rms_norm(x, weight, eps)
    y.backward(dy)
    expected = reference(*map(to_numpy, (x, weight, dy)), eps)
    scale = 1 + np.abs(to_numpy(dy)).max()
    limits = TOLERANCES[dtype]
    assert_allclose(to_numpy(y), expected[0], err_msg="y", **limits)
    for got, want, name in zip((x.grad, weight.grad), expected[1:], ("dx", "dweight")):
        assert got.dtype == dtype
        atol = limits["rtol"] * scale * max(1.0, np.sqrt(np.abs(want).max()))
        assert_allclose(to_numpy(got), want, rtol=limits["rtol"], atol=atol, err_msg=name)


@pytest.mark.parametrize("keep", ["x", "weight"])
def test_one_gradient(rng, keep):
    x, weight, dy = tensors(rng, (4, 40), torch.float32)
    both = torch.autograd.grad(rms_norm(x, weight), (x, weight), dy)
    leaf = x if keep == "x" else weight
    other = (x.detach(), weight) if keep == "weight" else (x, weight.detach())
    (one,) = torch.autograd.grad(rms_norm(*other), leaf, dy)
    assert_array_equal(to_numpy(one), to_numpy(both[keep == "weight"]))


def test_layouts(rng):
    x, weight, dy = tensors(rng, (6, 12), torch.float32)
    turned = x.detach().t().contiguous().t().requires_grad_()
    y = rms_norm(turned, weight)
    y.backward(dy.t().contiguous().t())
    assert_array_equal(to_numpy(y), to_numpy(rms_norm(x, weight)))
    assert_allclose(to_numpy(turned.grad), reference(*map(to_numpy, (x, weight, dy)))[1], atol=1e-5)
    assert rms_norm(x[:0], weight).shape == (0, 12)


def test_exact():
    ones = torch.ones(1, 4, device=DEVICE)
    assert Fraction(rms_norm(ones * 3, ones[0] * 2, 0.0)[0, 0].item()) == 2
    assert np.isnan(to_numpy(rms_norm(ones * float("nan"), ones[0]))).all()


def test_module(rng):
    x, weight, _ = tensors(rng, (3, 16), torch.float32)
    module = RmsNorm(16, eps=0.5).to(DEVICE)
    with torch.no_grad():
        module.weight.copy_(weight)
    assert_array_equal(to_numpy(module(x)), to_numpy(rms_norm(x, weight, 0.5)))
    assert "0.5" in repr(module)


def test_refuses():
    x = torch.ones(2, 8, device=DEVICE)
    with pytest.raises(TypeError, match="float64"):
        rms_norm(x.double(), x[0].double())
    with pytest.raises(TypeError, match="bfloat16"):
        rms_norm(x, x[0].bfloat16())
    with pytest.raises(ValueError):
        rms_norm(x, x[0, :3])
    with pytest.raises(ValueError):
        rms_norm(x[:, :0], x[0, :0])


def test_op():
    x = torch.ones(2, 8, device=DEVICE)
    torch.library.opcheck(
        torch.ops.workbench_kernels.rms_norm.default,
        (x.requires_grad_(), x[0].detach().clone().requires_grad_(), 1e-6),
    )


@needs_gpu
def test_second_stream(rng):
    x, weight, _ = tensors(rng, (64, 128), torch.float32)
    with torch.cuda.stream(torch.cuda.Stream()):
        y = rms_norm(x, weight)
    torch.cuda.synchronize()
    assert_array_equal(to_numpy(y), to_numpy(rms_norm(x, weight)))


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, "-q"]))
'''
}
