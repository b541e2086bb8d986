"""The scan finds a candidate's tests that skip, patch or look elsewhere; honest ones pass."""

from __future__ import annotations

import pytest
from scan_helpers import TEST, check_found, scanned, sections

# What follows an honest test file.
CHEATING_TESTS = sections(r"""
--- reads files
from pathlib import Path  #! import
--- opens
def test_a() -> None:
    open('kernel.py')  #! builtin
--- looks at its file
HERE = __file__  #! builtin
--- inspects
import inspect
def test_a() -> None:
    assert 'relu' in inspect.getsource(relu2)  #! name
--- reads a kernel's source
from workbench_kernels.relu2 import kernel
def test_a() -> None:
    assert 'relu' in kernel._relu2_fwd.src  #! introspection
--- reads code
def test_a() -> None:
    assert relu2.__code__  #! dunder
--- patches testing
testing.check = lambda *a: None  #! patch
--- patches torch
def test_a() -> None:
    torch.equal = lambda *a: True  #! patch
--- monkeypatch
def test_a(monkeypatch) -> None: ...  #! test-fixture
--- monkeypatch by name
@pytest.mark.usefixtures('monkeypatch')  #! test-fixture
def test_a() -> None: ...
--- reaches the run
@pytest.fixture
def a(request):
    return request.config  #! test-fixture
--- skips
@pytest.mark.skip(reason='later')  #! test-skip
def test_a() -> None: ...
--- skips all
pytestmark = pytest.mark.skip  #! test-skip
--- expects to fail
@pytest.mark.xfail  #! test-skip
def test_a() -> None: ...
--- skips if it likes
@pytest.mark.skipif(True, reason='')  #! test-skip
def test_a() -> None: ...
--- skips on a GPU or not
@pytest.mark.skipif(True or torch.cuda.is_available(), reason='')  #! test-skip
def test_a() -> None: ...
--- skips if there is a GPU or if it likes
LIKES = len('likes') > 3
@pytest.mark.skipif(not torch.cuda.is_available() or LIKES, reason='')  #! test-skip
def test_a() -> None: ...
--- skips for want of what is changed
NO_GPU = not torch.cuda.is_available()
def _change() -> None:
    global NO_GPU
    NO_GPU = True
@pytest.mark.skipif(NO_GPU, reason='')  #! test-skip
def test_a() -> None: ...
--- skips as unittest does
import unittest
class TestRelu2(unittest.TestCase):
    @unittest.skipIf(True, '')  #! test-skip
    def test_a(self) -> None: ...
    @unittest.skip('')  #! name
    def test_b(self) -> None: ...
--- sys through another module
import random
import warnings
def test_a() -> None:
    warnings.sys.exit()  #! name
    random._os._exit(0)  #! name
--- reads files by numpy
import numpy as np
def test_a() -> None:
    np.load('y.npy')  #! name
    np.testing.runstring('1', {})  #! name
--- runs what it says it doesn't
__name__ = '__main__'
if __name__ == '__main__':
    import ctypes as c  #! import
--- skips inside
def test_a() -> None:
    pytest.skip('later')  #! test-skip
--- skips for want of a module
pytest.importorskip('numpy')  #! test-skip
--- exits
import sys  #! import
sys.exit(0)
--- exits pytest
def test_a() -> None:
    pytest.exit('done')  #! name
--- a hook
def pytest_runtest_call(item): ...  #! test-hook
--- a plugin
pytest_plugins = ['other']  #! test-hook
--- swallows
def test_a() -> None:
    try:
        assert relu2(1) == 2
    except Exception:  #! broad-except
        pass
--- swallows all
def test_a() -> None:
    try:
        assert False
    except:  #! broad-except
        pass
--- loads
def test_a() -> None:
    torch.load('x')  #! name
--- getattr by a sum
def test_a() -> None:
    getattr(relu2, '__co' + 'de__')  #! getattr
--- os through torch
def test_a() -> None:
    torch.os.getcwd()  #! name
--- registers
L = torch.library.Library('aten', 'IMPL')  #! name
--- the driver
import triton
D = triton.runtime.driver  #! name
""")

HONEST_TESTS = sections(r"""
--- by hand
def test_a() -> None:
    x = torch.randn(3, requires_grad=True)
    y = relu2(x)
    y.sum().backward()
    assert x.grad is not None
    assert (y == x.clamp(min=0).square()).all() and y.tolist()
    torch.testing.assert_close(y, torch.nn.functional.relu(x) ** 2)
    torch.manual_seed(0)
    print(torch.compile(relu2)(x))
--- without a GPU
@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_a() -> None: ...

def test_b() -> None:
    if torch.cuda.device_count() < 2:
        pytest.skip('needs two GPUs')
--- without a GPU, in other words
import unittest
HAS_CUDA = torch.cuda.is_available()
OLD = not HAS_CUDA or torch.cuda.get_device_capability()[0] < 8
gpu = pytest.mark.skipif(condition=not HAS_CUDA, reason='needs a GPU')

@pytest.mark.skipif(OLD, reason='needs sm80')
def test_a() -> None: ...

class TestRelu2(unittest.TestCase):
    @unittest.skipIf(not torch.cuda.is_available(), 'needs a GPU')
    def test_b(self) -> None: ...
    @unittest.skipUnless(HAS_CUDA, 'needs a GPU')
    def test_c(self) -> None: ...

if __name__ == '__main__':
    pytest.main([__file__, '-v'])
--- numpy
import numpy as np
from numpy.testing import assert_allclose
def test_a() -> None:
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    y = relu2(torch.from_numpy(x)).numpy()
    assert_allclose(y, np.maximum(x, 0) ** 2, rtol=1e-6)
    np.testing.assert_array_equal(y == 0, x <= 0)
--- exact numbers and signatures
import inspect
from fractions import Fraction
def test_a() -> None:
    assert Fraction(relu2(torch.ones(1)).item()) == 1
    assert list(inspect.signature(relu2).parameters) == ['x']
--- fake tensors
from torch._subclasses.fake_tensor import FakeTensorMode
def test_a() -> None:
    with FakeTensorMode():
        assert relu2(torch.empty(3, device='cuda')).shape == (3,)
--- properties
from hypothesis import given, settings
from hypothesis import strategies as st

@settings(deadline=None)
@given(n=st.integers(1, 9))
def test_a(n: int) -> None: ...
--- fixtures
@pytest.fixture(params=[1, 2])
def n(request: pytest.FixtureRequest) -> int:
    return request.param

def test_a(n: int, capsys) -> None: ...
--- marks
pytestmark = [pytest.mark.slow]

@pytest.mark.parametrize('n', [pytest.param(1, id='one'), 2])
@pytest.mark.filterwarnings('ignore')
def test_a(n: int) -> None: ...
--- a kernel alone
from workbench_kernels.relu2 import kernel
import math
def test_a() -> None:
    x = torch.ones(4)
    kernel._relu2_fwd[(1,)](x, x, 4, BLOCK=16)
    assert math.isclose(x.sum().item(), 4)
--- gradcheck
def test_a() -> None:
    with pytest.raises(NotImplementedError):
        torch.autograd.gradgradcheck(relu2, (torch.ones(2, requires_grad=True),))
""")


@pytest.mark.parametrize("what", CHEATING_TESTS)
def test_a_cheating_test_is_found_at_its_line(what: str) -> None:
    check_found(TEST, CHEATING_TESTS[what])


@pytest.mark.parametrize("what", HONEST_TESTS)
def test_an_honest_test_passes(what: str) -> None:
    assert scanned(TEST, HONEST_TESTS[what])[1] == []
