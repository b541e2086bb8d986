"""Its tests are loops by hand over drawn sizes, with helpers, marks, ids by functions, warnings as
errors, a seeded `random`, and comparisons with PyTorch's own result in wider precision.
"""

BASE = "rms_norm"
FILES = {
    "test": '''\
"""Tests of rms_norm."""
import itertools
import math
import random
import warnings

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close, make_tensor

from workbench_kernels import functional, nn
from workbench_kernels.rms_norm.wrapper import rms_norm as op_under_test

pytestmark = pytest.mark.filterwarnings("error::RuntimeWarning")
device = torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
dtypes = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
# One rounding to the dtype, and what a few thousand additions in float32 may come to.
TOLERANCES = {
    torch.float32: (2e-6, 2e-6),
    torch.bfloat16: (2**-8, 1e-6),
    torch.float16: (2**-11, 1e-6),
}
EPS = 1e-6


def _reference(x, w, eps=EPS):
    return F.rms_norm(x.double(), (x.size(-1),), w.double(), eps)


def _make(*shape, dtype, low=-3, high=3, seed=0):
    torch.manual_seed(seed)
    return make_tensor(shape, dtype=dtype, device=device, low=low, high=high)


def _idfn(value):
    return "x".join(str(v) for v in value) if isinstance(value, tuple) else None


def _check(shape, dtype, eps=EPS, seed=0):
    x, dy = (_make(*shape, dtype=dtype, seed=seed + i) for i in range(2))
    w = _make(shape[-1], dtype=dtype, low=0.5, high=1.5, seed=seed + 2)
    x, w = x.requires_grad_(), w.requires_grad_()
    rtol, atol = TOLERANCES[dtype]

    y, y_ref = op_under_test(x, w, eps), _reference(x, w, eps)
    assert y.dtype == dtype
    assert y.shape == x.shape
    assert_close(y.double(), y_ref, rtol=2 * rtol, atol=2 * atol)

    grads = torch.autograd.grad(y, (x, w), dy)
    grads_ref = torch.autograd.grad(y_ref, (x, w), dy.double())
    rows = math.prod(shape[:-1])
    for got, want, scale in zip(grads, grads_ref, (1, math.sqrt(rows))):
        top = want.abs().max().clamp(min=1e-3).item() * scale
        assert_close(got, want.to(dtype), rtol=4 * rtol, atol=4 * rtol * top)


@pytest.mark.parametrize("dtype", dtypes.values(), ids=dtypes.keys())
@pytest.mark.parametrize(
    "shape", [(1, 16), (2, 3, 31), (40, 64), (5, 1000), (2, 4100), (700, 9)], ids=_idfn
)
def test_rms_norm(shape, dtype):
    _check(shape, dtype)


def test_random_shapes():
    rng = random.Random(2024)
    for seed in range(8):
        shape = (rng.randint(1, 40), rng.randint(16, 300))
        _check(shape, rng.choice(list(dtypes.values())), seed=seed)


@pytest.mark.parametrize("eps", [1e-12, 1e-3, 0.5])
def test_eps(eps):
    _check((4, 50), torch.float32, eps=eps)


def test_strides():
    w = _make(20, dtype=torch.float32)
    for base in (_make(20, 9, dtype=torch.float32).t(), _make(9, 40, dtype=torch.float32)[:, ::2]):
        assert torch.equal(op_under_test(base, w), op_under_test(base.contiguous(), w))
    wide = _make(40, dtype=torch.float32)
    x = _make(9, 20, dtype=torch.float32).requires_grad_()
    assert torch.equal(op_under_test(x, wide[::2]), op_under_test(x, wide[::2].clone()))
    (dx,) = torch.autograd.grad(op_under_test(x, w).sum(), x)
    (again,) = torch.autograd.grad(op_under_test(x, w), x, torch.ones(9, 20, device=device))
    assert torch.equal(dx, again)


def test_scale_invariance():
    x, w = _make(6, 64, dtype=torch.float32), torch.ones(64, device=device)
    for a, b in itertools.product((1.0, 100.0), repeat=2):
        one, other = op_under_test(a * x, w, 0.0), op_under_test(b * x, w, 0.0)
        assert_close(one, other, rtol=1e-5, atol=1e-6)


def test_no_warnings_and_no_grad():
    x, w = _make(6, 64, dtype=torch.float32), torch.ones(64, device=device)
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("error")
        y = op_under_test(x, w)
    assert not y.requires_grad


def test_names():
    assert functional.rms_norm is op_under_test
    module = nn.RmsNorm(64, eps=0.25).to(device)
    x = _make(6, 64, dtype=torch.float32)
    assert torch.equal(module(x), op_under_test(x, module.weight, 0.25))
    assert repr(module) == "RmsNorm(eps=0.25)"
    assert [name for name, _ in module.named_parameters()] == ["weight"]


def test_compile():
    x, w = _make(6, 64, dtype=torch.float32), torch.ones(64, device=device)
    compiled = torch.compile(op_under_test, backend="aot_eager", fullgraph=True)
    assert torch.equal(compiled(x, w), op_under_test(x, w))


@pytest.mark.parametrize("bad", ["dtype", "mixed", "width", "scalar"])
def test_errors(bad):
    x, w = _make(6, 64, dtype=torch.float32), torch.ones(64, device=device)
    calls = {
        "dtype": (x.double(), w.double()),
        "mixed": (x, w.half()),
        "width": (x, w[:-1]),
        "scalar": (x[0, 0], w[0]),
    }
    expected = TypeError if bad in ("dtype", "mixed") else ValueError
    with pytest.raises(expected) as caught:
        op_under_test(*calls[bad])
    assert "rms_norm" in str(caught.value)
''',
}
