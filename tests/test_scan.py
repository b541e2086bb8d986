"""The static scan finds each way to cheat, at its line, and nothing in honest ops.

A line of a snippet that must be found ends in `#!` and the rules it breaks.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench import tiers
from workbench.authors.draft import DraftAuthor
from workbench.judge.scan import Finding, scan
from workbench.profile import analyze
from workbench.reference import find

FIXTURE = Path(__file__).parent / "fixtures" / "relu2"
FOLDER = "kernels/workbench_kernels/relu2"
KERNEL, WRAPPER = f"{FOLDER}/kernel.py", f"{FOLDER}/wrapper.py"
TEST = "tests/kernels/test_relu2.py"

OP = {
    KERNEL: (FIXTURE / "kernel.py").read_text(),
    WRAPPER: (FIXTURE / "wrapper.py").read_text(),
    TEST: (FIXTURE / "tests_of_relu2.py").read_text(),
}


def _sections(text: str) -> dict[str, str]:
    """Snippets by name, each below a line `--- name`."""
    parts = [part.split("\n", 1) for part in text.split("--- ")[1:]]
    return {name: snippet.strip() for name, snippet in parts}


# What follows an honest kernel.py.
CHEATS = _sections(r"""
--- imports os
import os  #! import
--- imports late
def f(x: Tensor) -> Tensor:
    import time as t  #! import
    return x
--- imports a part
from concurrent import futures  #! import
--- imports everything
from torch import *  #! star-import
--- imports when typing is off
from typing import TYPE_CHECKING
if not TYPE_CHECKING:
    import sys  #! import
--- imports by builtin
s = __import__('sys')  #! builtin
--- imports by importlib
import importlib  #! import
m = importlib.import_module('os')
--- imports the functional form
import torch.nn.functional as F  #! name
def f(x: Tensor) -> Tensor:
    return F.relu(x)  #! name
--- imports a function
from torch import softmax as s  #! torch-compute
def f(x: Tensor) -> Tensor:
    return s(x, -1)
--- imports the truth
from workbench_kernels import truth  #! name
--- imports the expected values
from workbench_kernels.testing import expect  #! name
--- imports its spec
from workbench_kernels.relu2.spec import SPEC  #! name
--- imports a spec relatively
from .spec import SPEC  #! name
--- os through the library
from workbench_kernels import launch
E = launch.os.environ  #! name
--- os through the library, imported
from workbench_kernels.launch import os  #! name
--- torch through the library
from workbench_kernels import launch
def f(x: Tensor) -> Tensor:
    return launch.torch.relu(x)  #! torch-compute
--- private parts of the library
op._LIBRARIES.clear()  #! name
--- sys through torch
def f() -> int:
    return torch.sys.maxsize  #! torch-compute
--- inspect through triton
def f() -> object:
    return tl.core.inspect.stack()  #! name kernel-call
--- the driver
def f() -> object:
    return triton.runtime.driver.active  #! name
--- evaluates
y = eval('1')  #! builtin
--- executes
def f(s: str) -> None:
    exec(s)  #! builtin
--- opens
def f() -> str:
    return open('/etc/passwd').read()  #! builtin
--- globals
def f() -> dict:
    return globals()  #! builtin
--- prints
def f(x: Tensor) -> None:
    print(x.shape)  #! builtin
--- exits
def f() -> None:
    raise SystemExit(0)  #! builtin
--- renames a builtin
run = compile  #! builtin
--- asks for the file
HERE = __file__  #! builtin
--- getattr by a sum
def f(x: Tensor) -> Tensor:
    return getattr(torch, 're' + 'lu')(x)  #! getattr
--- getattr by a literal
def f(x: Tensor) -> Tensor:
    return getattr(torch, 'relu')(x)  #! torch-compute
--- getattr of a tensor
def f(x: Tensor) -> Tensor:
    return getattr(x, 'relu')()  #! torch-compute
--- getattr handed on
def f(x: Tensor) -> Tensor:
    return list(map(getattr, [x], ['relu']))[0]()  #! getattr torch-compute
--- setattr
def f(y: Tensor) -> None:
    setattr(op, 'define', y)  #! builtin
--- makes a class
C = type('C', (), {})  #! class
--- dict of a module
def f(x: Tensor) -> Tensor:
    return torch.__dict__['relu'](x)  #! dunder
--- subclasses
K = ().__class__.__base__.__subclasses__()  #! dunder
--- globals of a function
def f() -> object:
    return op.define.__globals__  #! dunder
--- frames of a generator
def f() -> object:
    g = (i for i in ())
    return g.gi_frame.f_back  #! introspection
--- a kernel's function
def f(x: Tensor) -> Tensor:
    return _relu2_fwd.fn(x)  #! introspection
--- a kernel called
@triton.jit
def _double(x):
    return x + x

def f(x: Tensor) -> Tensor:
    return _double(x)  #! kernel-call
--- a kernel called through a table
@triton.jit
def _double(x):
    return x + x

TABLE = {'double': _double}
def f(x: Tensor) -> Tensor:
    return TABLE['double'](x)  #! kernel-call
--- a kernel called by a helper
@triton.jit
def _double(x):
    return x + x

def _run(k, x):
    return k(x)  #! kernel-call
def f(x: Tensor) -> Tensor:
    return _run(_double, x)
--- a kernel mapped
@triton.jit
def _double(x):
    return x + x

def f(x: Tensor) -> Any:
    return next(map(_double, [x]))  #! kernel-call torch-compute
--- a library's device function
from workbench_kernels import numerics
def f(x: Tensor) -> Tensor:
    return numerics.expm1(x)  #! kernel-call
--- half a kernel
def _both(x):
    return x * x

_k = triton.jit(_both)
def f(x: Tensor) -> Tensor:
    return _both(x)  #! kernel-call
--- torch in a kernel
@triton.jit
def _k(X):
    torch.empty(3)  #! kernel
--- the interpreter's arrays
@triton.jit
def _k(X):
    x = tl.load(X)
    x.handle.data[:] = 0  #! introspection
--- softmax
def f(x: Tensor) -> Tensor:
    return torch.softmax(x, -1)  #! torch-compute
--- another name for torch
t = torch
def f(x: Tensor) -> Tensor:
    return t.softmax(x, -1)  #! torch-compute
--- another name for a function
f = torch.exp  #! torch-compute
--- a walrus
def f(x: Tensor) -> Tensor:
    return (t := torch).relu(x)  #! torch-compute
--- either of two
def f(x: Tensor) -> Tensor:
    return (tl if x.is_cuda else torch).relu(x)  #! torch-compute kernel-call
--- from a table
TABLE = {'t': torch}
def f(x: Tensor) -> Tensor:
    return TABLE['t'].relu(x)  #! torch-compute
--- torch as an argument
def _g(m, x):
    return m.special.expit(x)  #! torch-compute
def f(x: Tensor) -> Tensor:
    return _g(torch, x)  #! module-value
--- reduce
from functools import reduce
import operator
def f(x: Tensor, y: Tensor) -> Tensor:
    return reduce(operator.add, [x, y])  #! torch-compute
--- map
def f(x: Tensor) -> Any:
    return map(torch.relu, [x])  #! torch-compute
--- partial
from functools import partial
g = partial(torch.sum, dim=-1)  #! torch-compute
--- operator
import operator
def f(x: Tensor) -> Tensor:
    return operator.matmul(x, x)  #! name torch-compute
--- methodcaller
from operator import methodcaller  #! name
--- a method
def f(x: Tensor) -> Tensor:
    return x.sum(-1)  #! torch-compute
--- a method of anything
def f(x):
    return x.clamp(min=0)  #! torch-compute
--- a method of what is said to be a number
def f(x: int) -> Any:
    return x.relu()  #! torch-compute
--- a method of what is said to be a list
def f(x: list[int]) -> Any:
    return x.exp()  #! torch-compute
--- a method of what is said to be an object
from typing import NamedTuple
class Pair(NamedTuple):
    relu: int = 0

def f(x: Pair) -> Any:
    return x.relu()  #! torch-compute
--- a method of a context that is none
def f(ctx: Any) -> Any:
    return ctx.relu()  #! torch-compute
--- a method of the class
def f(x: Tensor) -> Tensor:
    return Tensor.relu(x)  #! torch-compute
--- a method without a call
def f(x: Tensor) -> Any:
    g = x.mul  #! torch-compute
    return g(x)
--- a method by a pattern
def f(x: Tensor) -> Any:
    match x:
        case Tensor(relu=g):  #! torch-compute
            return g()
--- product
def f(x: Tensor, w: Tensor) -> Tensor:
    return x @ w  #! torch-compute
--- sum of two
def f(x: Tensor, y: Tensor) -> Tensor:
    z = x.contiguous()
    return z + y  #! torch-compute
--- of an unannotated tensor
def f(x):
    x = x.contiguous()
    return x * x  #! torch-compute
--- of a saved tensor
def f(ctx: Any, dy: Tensor) -> Tensor:
    (x,) = ctx.saved_tensors
    return 2 * x  #! torch-compute
--- in place
def f(x: Tensor) -> Tensor:
    x *= 2  #! torch-compute
    return x
--- negation
def f(x: Tensor) -> Tensor:
    return -x  #! torch-compute
--- comparison
def f(x: Tensor) -> Tensor:
    return x > 0  #! torch-compute
--- of the op's result
def f(x: Tensor) -> Tensor:
    return relu2(x) * 1.01  #! torch-compute
--- gather
def f(x: Tensor, i: Tensor) -> Tensor:
    return x[i]  #! torch-compute
--- abs
def f(x: Tensor) -> Tensor:
    return abs(x)  #! torch-compute
--- aten
def f(x: Tensor) -> Tensor:
    return torch.ops.aten.relu(x)  #! name
--- compiles
f = torch.compile(lambda x: x)  #! name
--- a layer
L = torch.nn.Softmax(-1)  #! name
--- in __init__, of an input
class C(torch.nn.Module):
    def __init__(self, x):
        super().__init__()
        self.y = x.relu()  #! torch-compute
--- item
def f(x: Tensor) -> float:
    return x.item()  #! value-read
--- truth of a tensor
def f(x: Tensor) -> Tensor:
    y = torch.zeros_like(x)
    if x:  #! value-read
        return x
    return y
--- float of a tensor
def f(x: Tensor) -> float:
    return float(x)  #! value-read
--- math of a tensor
import math
def f(x: Tensor) -> float:
    return math.exp(x)  #! value-read
--- shown as text
def f(x: Tensor) -> str:
    return f'{x}'  #! value-read
--- any
def f(x: Tensor) -> bool:
    return x.isnan().any()  #! torch-compute value-read
--- address as a key
def f(x: Tensor) -> int:
    return x.data_ptr()  #! address
--- address through a function
def _kept(address: int) -> int:
    return address
def f(x: Tensor) -> int:
    return _kept(x.data_ptr()) % 16  #! address
--- address modulo much
def f(x: Tensor) -> int:
    return x.data_ptr() % 2**62  #! address
--- id
def f(x: Tensor) -> int:
    return id(x)  #! builtin
--- version
def f(x: Tensor) -> int:
    return x._version  #! address
--- storage
def f(x: Tensor) -> Any:
    return x.untyped_storage()  #! address
--- a cache
CACHE: dict = {}
def f(x: Tensor) -> Tensor:
    CACHE[x.shape] = x  #! state
    return x
--- a cache, renamed
CACHE: dict = {}
def f(x: Tensor) -> Tensor:
    c = CACHE
    return c.setdefault(x.shape, x)  #! state
--- a cache, handed on
CACHE: dict = {}
def _put(c, k, v):
    c[k] = v  #! state
def f(x: Tensor) -> None:
    _put(CACHE, x.shape, x)
--- a default
def f(x: Tensor, kept={}) -> None:
    kept[x.shape] = x  #! state
--- global
N = 0
def f() -> None:
    global N  #! state
    N += 1
--- nonlocal
def make() -> Any:
    n = 0
    def f() -> int:
        nonlocal n  #! state
        n += 1
        return n
    return f
--- a closure
def make() -> Any:
    kept = {}
    def f(x: Tensor) -> None:
        kept[x.shape] = x  #! state
    return f
--- on a function
def f(x: Tensor) -> None:
    f.kept = x  #! state
--- on a class
class C:
    kept: dict = {}
    def put(self, x: Tensor) -> None:
        self.kept[x.shape] = x  #! state
--- on an object
class C:
    def __init__(self) -> None:
        self.last = None
    def put(self, x: Tensor) -> None:
        self.last = x  #! state
--- on an object, from outside
class C:
    last: Any = None

C_ = C()
def f(x: Tensor) -> None:
    C_.last = x  #! state
--- in a module's buffer
class C(torch.nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        self.kept.copy_(x)  #! state
        return x
--- a counter
N = iter(range(10**9))  #! state
def f() -> int:
    return next(N)  #! state
--- a counter of itertools
import itertools
N = itertools.count()  #! name
--- a cached function of tensors
from functools import cache

@cache
def f(x: Tensor) -> Tensor:  #! cache
    return x
--- a cached function of anything
import functools
g = functools.lru_cache(None)(lambda x: x)  #! cache
--- a cached workspace
from functools import cache

@cache
def f(n: int) -> Tensor:  #! cache
    return torch.empty(n)
--- a cached store
from functools import cache

@cache
def _store() -> dict:
    return {}
def f(x: Tensor) -> None:
    _store()[x.shape] = x  #! state
--- a partial with a store
from functools import partial
def _f(kept, x):
    kept[x.shape] = x  #! state

f = partial(_f, {})
--- patches torch
torch.allclose = lambda *a: True  #! patch
--- patches torch late
def f() -> None:
    t = torch
    t.equal = f  #! patch
--- patches the language
tl.store = None  #! patch
--- patches a library
from workbench_kernels import launch
launch.check = None  #! patch
--- patches a class
torch.nn.Module.__call__ = None  #! patch dunder
--- patches by deleting
del torch.relu  #! patch
--- switches tf32
def f() -> None:
    torch.backends.cuda.matmul.allow_tf32 = True  #! patch
--- a global setting
torch.set_default_dtype(torch.float16)  #! name
--- seeds
def f() -> None:
    torch.manual_seed(0)  #! name
--- a stream
def f() -> Any:
    return torch.cuda.Stream()  #! name
--- synchronises
def f() -> None:
    torch.cuda.synchronize()  #! name
--- dispatch modes
from torch.utils._python_dispatch import TorchDispatchMode  #! name
--- the C part
N = torch._C._dispatch_keys  #! name
--- registers for aten
L = torch.library.Library('aten', 'IMPL')  #! op-name
--- registers for aten, spelled
L = torch.library.Library('at' + 'en', 'IMPL')  #! op-name
--- implements aten
def _f(x: Tensor) -> Tensor:
    return x
torch.library.impl('aten::relu', 'CPU', _f)  #! op-name
--- registers another op
softmax = op.define('softmax', forward, fake=_forward_fake)  #! op-name
--- registers under a made-up name
def g(n: str) -> None:
    op.define(n, forward, fake=_forward_fake)  #! op-name
--- the C handle of a library
L = torch.library.Library('workbench_kernels', 'FRAGMENT')
L.m.impl('relu2', forward)  #! introspection
--- another implementation of an op
relu2.py_impl(None)  #! introspection
--- patches a type
C = type(_relu2_fwd.best_config)
C.run = None  #! patch
--- patches in a loop
for torch.relu in [None]:  #! patch
    pass
--- on a tensor
def f(x: Tensor) -> None:
    x.kept = x.shape  #! state
--- through dict
A: dict = {}
def f(x: Tensor) -> None:
    dict.update(A, {1: x})  #! state
--- by a bound method
A: list = []
put = A.append  #! state
--- by adding
A: list = []
def f(x: Tensor) -> None:
    a = A
    a += [x]  #! state
--- a generator
def _count() -> Any:
    yield 1

G = _count()  #! state
--- a closure that is registered
def _make() -> None:
    kept = []
    def g(x: Tensor) -> Tensor:
        kept.append(x)  #! state
        return x
    op.define('relu2_kept', g, fake=g)

_make()
--- a module's prepared weight
from functools import cached_property

class C(torch.nn.Module):
    @cached_property
    def prepared(self):  #! cache
        return forward(self.weight)
--- return in finally
def f(x: Tensor) -> Tensor:
    try:
        relu2(x)
    finally:
        return x  #! try-except
--- a fallback
def f(x: Tensor) -> Tensor:
    try:
        return relu2(x)
    except RuntimeError:  #! try-except
        return x
--- a fallback import
try:
    import triton.language.extra.cuda as c
except ImportError:  #! try-except
    c = None
--- suppress
from contextlib import suppress  #! name
--- an __exit__
class C:
    def __exit__(self, *error: Any) -> bool:  #! class
        return True
--- a tensor of its own
class T(Tensor):  #! class
    pass
--- torch functions of its own
class C:
    def __torch_function__(self, *a: Any) -> None:  #! class
        pass
--- a metaclass
class C(metaclass=Any):  #! class
    pass
--- a finaliser
class C:
    def __del__(self) -> None:  #! class
        pass
--- a dict of its own
class C(dict):  #! class
    pass
--- a module's getattr
def __getattr__(name: str) -> int:  #! class
    return 1
--- a decorator from nowhere
def f(g: Any) -> None:
    @g.wrap  #! decorator
    def h() -> None: ...
--- a coroutine
async def f() -> None:  #! async
    pass
--- a launch at import
X = torch.zeros(3)  #! import-time
_relu2_fwd[(1,)](X, X, 3, BLOCK=16)  #! import-time
--- a GPU at import
N = torch.cuda.device_count()  #! import-time
--- a tensor at import, in a function
def _make() -> Tensor:
    return torch.empty(3)

B = _make()  #! import-time
--- code in an annotation
def f(x: __import__('os')) -> None: ...  #! annotation builtin
--- code in a quoted annotation
def f(x: "exec('1')") -> None: ...  #! annotation
""")

# What follows an honest test file.
CHEATING_TESTS = _sections(r"""
--- reads files
from pathlib import Path  #! import
--- opens
def test_a() -> None:
    open('kernel.py')  #! builtin
--- looks at its file
HERE = __file__  #! builtin
--- inspects
import inspect  #! import
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

HONEST = _sections(r"""
--- autotune
CONFIGS = [triton.Config({'BLOCK': b}, num_warps=w) for b, w in ((512, 4), (1024, 8))]
def _prune(configs, named_args, **kwargs):
    return [c for c in configs if c.kwargs['BLOCK'] <= named_args['n']]

@triton.autotune(configs=CONFIGS, key=['n'], prune_configs_by={'early_config_prune': _prune})
@triton.jit
def _k(X, n, BLOCK: tl.constexpr):
    tl.store(X, tl.load(X) + 1)

def f(x: Tensor) -> None:
    _k[lambda meta: (triton.cdiv(x.numel(), meta['BLOCK']),)](x, 3)
--- configs made by a function
def _configs() -> list[triton.Config]:
    return [triton.Config({'BLOCK': 2**i}) for i in range(7, 11)]

@triton.autotune(configs=_configs(), key=['n'])
@triton.jit
def _k(X, n, BLOCK: tl.constexpr): ...
--- heuristics
@triton.heuristics({'EVEN': lambda args: args['n'] % args['BLOCK'] == 0})
@triton.jit
def _k(X, n, BLOCK: tl.constexpr, EVEN: tl.constexpr): ...
--- device functions
@triton.jit
def _act(x):
    return tl.where(x > 0, x, 0.0).sum()

@triton.jit
def _k(X, ACT: tl.constexpr):
    x = tl.load(X)
    x.to(tl.float32)
    tl.store(X, _act(x).max() + x.exp())

def f(x: Tensor) -> None:
    _k[(1,)](x, ACT=_act)
--- a table of kernels
KERNELS = {True: _relu2_fwd, False: _relu2_bwd}
def f(x: Tensor) -> None:
    KERNELS[x.is_cuda][(1,)](x, x, 1, BLOCK=16)
    k = _relu2_fwd if x.is_cuda else _relu2_bwd
    k[(1,)](x, x, 1, BLOCK=16)
--- a helper that launches
def _launch(kernel, *tensors: Tensor, grid: tuple[int, ...]) -> None:
    with device_of(tensors[0]):
        kernel[grid](*tensors, BLOCK=64)
def f(x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    _launch(_relu2_fwd, y, x, grid=(1,))
    return y
--- libdevice and assembly
from triton.language.extra import libdevice
from triton.language.extra.cuda.libdevice import tanh

@triton.jit
def _k(X):
    x = libdevice.erf(tl.load(X)) + tanh(tl.load(X))
    for i in tl.static_range(3):
        x += i
    print('x', x)
    tl.store(X, tl.inline_asm_elementwise('', '=r,r', [x], tl.int32, True, 1))
--- libdevice where it is
try:
    from triton.language.extra.libdevice import rsqrt
except ModuleNotFoundError:
    from triton.language.extra.cuda.libdevice import rsqrt
--- a kernel by call
def _raw(X):
    tl.store(X, tl.load(X).sum())

_k = triton.jit(_raw)
def f(x: Tensor) -> None:
    _k[(1,)](x)
--- autograd.Function
class F(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, max):
        y = torch.empty_like(x)
        _relu2_fwd[(1,)](y, x, x.numel(), BLOCK=64)
        ctx.save_for_backward(x, weight)
        ctx.max = max
        return y

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, dy):
        x, weight = ctx.saved_tensors
        dx = torch.empty_like(x) if ctx.needs_input_grad[0] else None
        _relu2_bwd[(1,)](dx, dy.contiguous(), x, int(ctx.max * 2), BLOCK=64)
        return (dx,) + (None,) * 2

def f(x: Tensor, w: Tensor) -> Tensor:
    return F.apply(x, w, 3)
--- custom_op
@torch.library.custom_op('workbench_kernels::relu2_c', mutates_args=())
def relu2_c(x: Tensor) -> Tensor:
    return relu2(x)

@relu2_c.register_fake
def _(x: Tensor) -> Tensor:
    return x.new_empty(x.shape[:-1])

relu2_c.register_autograd(_differentiate, setup_context=_save)
--- triton_op
from torch.library import triton_op, wrap_triton

@triton_op('workbench_kernels::relu2_t', mutates_args={})
def relu2_t(x: Tensor) -> Tensor:
    y = torch.empty_like(x)
    wrap_triton(_relu2_fwd)[(1,)](y, x, x.numel(), BLOCK=64)
    return y
--- a library of its own
LIBRARY = torch.library.Library(op.NAMESPACE, 'FRAGMENT')
LIBRARY.define('relu2_(Tensor(a!) x) -> ()', tags=(torch.Tag.pt2_compliant_tag,))
for device in ('CPU', 'CUDA'):
    LIBRARY.impl('relu2_', lambda x: None, device)
torch.library.register_fake(f'{op.NAMESPACE}::relu2_', lambda x: None, lib=LIBRARY)
relu2_ = torch.ops.workbench_kernels.relu2_.default
--- cached sizes
from functools import cache, lru_cache

@cache
def _block(n: int, dtype: torch.dtype, wide: bool = False) -> tuple[int, int]:
    return triton.next_power_of_2(n), 4 if wide else 8

@lru_cache(maxsize=None)
def _sms(device: int | None) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count
--- named tuples, enums, dataclasses
import enum
from dataclasses import dataclass, replace
from typing import Final, NamedTuple
ROW: Final = -1

class Kind(enum.IntEnum):
    SUM = 0
    MEAN = enum.auto()

class Tile(NamedTuple):
    rows: int
    sum: int
    mean: float = 0.0

@dataclass(frozen=True)
class Config:
    block: int = 64
    max: float = 1.0

    @property
    def twice(self) -> int:
        return self.block * 2

DEFAULT = Config()
def _tile(n: int) -> Tile:
    return Tile(n, 2)
def f(x: Tensor) -> float:
    c = replace(DEFAULT, block=32)
    return _tile(x.shape[ROW]).sum + c.max + c.twice + Kind.SUM.value + DEFAULT.max
--- tables by dtype
from types import MappingProxyType
BLOCKS = {torch.float32: 1024, torch.bfloat16: 2048}
TYPES = MappingProxyType({torch.float32: tl.float32})
WIDTHS = tuple(range(0, 8, 2))
def f(x: Tensor) -> int:
    return BLOCKS.get(x.dtype, 512) + WIDTHS[0]
--- alignment
ALIGN = 16
def f(x: Tensor, y: Tensor) -> bool:
    return (x.data_ptr() | y.data_ptr()) % ALIGN == 0 and x.data_ptr() % 8 == 0
--- shapes
import math
from functools import reduce
from operator import mul
def f(x: Tensor, dims: list[int]) -> tuple[int, ...]:
    rows, cols = math.prod(x.shape[:-1]), x.shape[-1]
    n = reduce(mul, x.shape, 1) + sum(x.stride()) + max(1, x.numel() // cols, x.size(0) * 2)
    assert rows * cols == n, f'{x.shape}'
    low, high = min(dims), max(dims)
    return (*x.shape[:-1], x.element_size() * n, low, high)
--- views
def f(x: Tensor, y: Tensor) -> Tensor:
    x, y = torch.broadcast_tensors(x, y)
    x = x.movedim(0, -1).flatten(0, -2).unsqueeze(0)
    a, b = x.chunk(2, dim=-1)
    y[:, :2] = a.view(y.shape[0], 2)
    y.zero_()
    z = torch.zeros(3, device=x.device, dtype=torch.float32).to(y.dtype).expand(3, 3)
    return torch.reshape(z, (-1,))[..., ::2].T.contiguous()
--- containers
def f(names: set[str], table: dict[str, int], unknown) -> list[int]:
    names.add('a')
    values = list(table.values()) + list(unknown.values())
    values.sort()
    return values
--- limits of a dtype
def f(x: Tensor) -> float:
    info = torch.finfo(x.dtype)
    return info.max + info.eps + torch.finfo(torch.float32).min
--- checks
def f(x: Tensor, w: Tensor | None = None) -> Tensor:
    if not isinstance(x, Tensor) or x.device.type != 'cuda':
        raise TypeError(f'relu2: {type(x).__name__}')
    if w is not None and w.shape != x.shape:
        raise ValueError(f'relu2: {w} does not fit')
    torch._check(x.dim() > 0)
    return x if w is None or not x.numel() else w
--- finally
def f(x: Tensor) -> None:
    try:
        relu2(x)
    finally:
        pass
--- devices
from contextlib import nullcontext
def f(x: Tensor) -> None:
    on = torch.cuda.device(x.device) if x.is_cuda else nullcontext()
    with on, torch.no_grad():
        relu2(x)
    with torch.cuda.device_of(x):
        relu2(x)
--- a module with parameters
class M(torch.nn.Module):
    def __init__(self, width: int, max: float = 6.0, device: torch.device | None = None) -> None:
        super().__init__()
        self.max, self.sum = max, width
        self.weight = torch.nn.Parameter(torch.randn(width, device=device) * 0.02)
        self.register_buffer('limit', torch.tensor(max))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        torch.nn.init.ones_(self.weight)
        with torch.no_grad():
            self.weight.data.uniform_(-1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return relu2(x)

    def extra_repr(self) -> str:
        return f'{self.max}, {self.__class__.__name__}'
--- a decorator of its own
import functools
def _contiguous(fn):
    @functools.wraps(fn)
    def wrapper(ctx, *args, **kwargs):
        args = [a.contiguous() if isinstance(a, Tensor) else a for a in args]
        return fn(ctx, *args, **kwargs)
    return wrapper

@_contiguous
def f(ctx, x):
    return relu2(x)
--- a context of its own
from collections.abc import Iterator
from contextlib import contextmanager

@contextmanager
def _on(x: Tensor) -> Iterator[None]:
    with device_of(x):
        yield
--- local lists
def f(x: Tensor, needs: list[bool]) -> list[Tensor]:
    grads = []
    seen: set[int] = set()
    for need in needs:
        seen.add(1)
        if need:
            grads.append(torch.empty_like(x))
    grads.sort(key=lambda t: t.dim())
    sizes = {}
    sizes['n'] = len(grads)
    return [g for g in grads if g is not None]
--- the library
from workbench_kernels import launch, numerics, partials, spec, testing
from workbench_kernels.softmax import kernel as other
from workbench_kernels.nn import RmsNorm
INTERPRETED = launch.interpreted()
def f(x: Tensor) -> Tensor:
    tile = launch.row_tile(x.shape[-1])
    parts = x.new_empty((tile.block_rows, 3), dtype=torch.float32)
    return partials.add_parts(parts, x.shape[-1:], x.dtype)
--- gradients gathered
def f(ctx: Any, dy: Tensor) -> Any:
    needs = list(ctx.needs_input_grad[:1])
    (x,) = ctx.saved_tensors
    grads = relu2_backward(dy, x, needs)
    if any(needs) and all(needs):
        return tuple(grads) + (None,)
    return *op.spread(grads, needs), None
--- descriptors
from triton.tools.tensor_descriptor import TensorDescriptor
def _alloc(size: int, alignment: int, stream: int | None) -> Tensor:
    return torch.empty(size, device='cuda', dtype=torch.int8)
def f(x: Tensor) -> TensorDescriptor:
    triton.set_allocator(_alloc)
    return TensorDescriptor.from_tensor(x, [16, 16])
--- autocast
class F(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(device_type='cuda')
    def forward(ctx, x):
        return relu2(x)
--- types of every kind
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal, Optional, TypeVar
if TYPE_CHECKING:
    from collections.abc import Mapping
T = TypeVar('T')
def f(x: 'Tensor', how: Literal['a b', 'mean'], g: Callable[..., T], n: Optional[int] = None,
      *rest: torch.Tensor, **more: 'Mapping[str, int]') -> Sequence[Tensor | None]: ...
--- relative imports
from .kernel import forward as again
from ..launch import check
--- everyday launching
def f(x, w=None, out_dtype: torch.dtype | None = None):
    if not x.is_contiguous() or x.stride(-1) != 1:
        x = x.contiguous()
    assert x.is_cuda and x.dim() > 1
    tensors = {'x': x, 'w': w}
    for name, t in tensors.items():
        text = f'{name}'
        if t is not None and t.device != x.device:
            raise ValueError(text)
    most = 65536 // x.element_size()
    block = min(most, triton.next_power_of_2(x.shape[-1]))
    warps = 4 if block < 2048 else 8
    block *= 2
    y = torch.empty(x.shape, device=x.device, dtype=out_dtype or x.dtype)
    x, y = (t.view(-1, x.shape[-1]) for t in (x, y))
    sizes = [t.numel() for t in (x, y)]
    _relu2_fwd[(triton.cdiv(sum(sizes), block),)](y, x, max(sizes), BLOCK=block, num_warps=warps)
    return y
--- constants of the language
LOG2E = tl.constexpr(1.44)
LN2: tl.constexpr = 0.69

@triton.jit
def _k(X, n):
    pid = tl.program_id(axis=0)
    x = tl.load(X + pid).to(X.type.element_ty)
    tl.store(X, tl.extra.cuda.libdevice.tanh(x * LOG2E) + tl.math.rsqrt(x) + x.value)
--- a module without hints
from torch.nn import Module, Parameter

class N(Module):
    def __init__(self, width, eps=1e-6):
        super(N, self).__init__()
        self.eps, self.weight = eps, Parameter(torch.ones(width))
        self.register_parameter('bias', None)

    def forward(self, x):
        return relu2(x) if self.bias is None else x
--- versions
NEW = tuple(map(int, triton.__version__.split('.')[:2])) >= (3, 4)
HIP = torch.version.hip is not None
GATHER = hasattr(tl, 'gather')
EXP = getattr(tl, 'exp2', None)
""")

HONEST_TESTS = _sections(r"""
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


def scanned(path: str, addition: str) -> tuple[str, list[Finding]]:
    """The file with the addition after its own text, and what is found in the op."""
    text = f"{OP[path]}\n\n{addition}\n"
    return text, scan(OP | {path: text}, "relu2")


def marked(text: str) -> set[tuple[int, str]]:
    lines = enumerate(text.splitlines(), 1)
    return {(n, rule) for n, line in lines if "#!" in line for rule in line.split("#!")[1].split()}


def check_found(path: str, addition: str) -> None:
    text, findings = scanned(path, addition)
    assert {f.file for f in findings} == {path}
    found = {(f.line, f.rule): str(f) for f in findings}
    assert set(found) == marked(text), "\n".join(found.values())


@pytest.mark.parametrize("what", CHEATS)
def test_a_cheat_is_found_at_its_line(what: str) -> None:
    check_found(KERNEL, CHEATS[what])


@pytest.mark.parametrize("what", CHEATING_TESTS)
def test_a_cheating_test_is_found_at_its_line(what: str) -> None:
    check_found(TEST, CHEATING_TESTS[what])


@pytest.mark.parametrize("what", HONEST)
def test_honest_code_passes(what: str) -> None:
    assert scanned(KERNEL, HONEST[what])[1] == []


@pytest.mark.parametrize("what", HONEST_TESTS)
def test_an_honest_test_passes(what: str) -> None:
    assert scanned(TEST, HONEST_TESTS[what])[1] == []


def test_a_cheat_in_the_wrapper_through_the_kernels_file() -> None:
    kernel = OP[KERNEL] + "\n\nt = torch\n"
    wrapper = (
        OP[WRAPPER]
        + "\n\ndef f(x: Tensor) -> Tensor:\n    return kernel.t.relu(x) #! torch-compute\n"
    )
    findings = scan(OP | {KERNEL: kernel, WRAPPER: wrapper}, "relu2")
    assert {(f.line, f.rule) for f in findings} == marked(wrapper)
    assert {f.file for f in findings} == {WRAPPER}


@pytest.mark.parametrize(
    ("text", "line", "says"),
    [
        ("x = 1\ndef f(:\n", 2, "not Python"),
        ("x = '\0'", 1, "null"),
        ("x = " + "-" * 100_000 + "1", 1, "flat"),
        ("x = 1\n" * 50_000, 1, "longer than"),
        ("# -*- coding: utf-7 -*-\n", 1, "utf-7"),
    ],
)
def test_a_file_that_is_no_source(text: str, line: int, says: str) -> None:
    (finding,) = scan({KERNEL: text}, "relu2")
    assert (finding.file, finding.line) == (KERNEL, line)
    assert says in finding.message


def test_a_finding_reads_as_a_line_of_a_report() -> None:
    (finding,) = scan({KERNEL: "import os"}, "relu2")
    assert str(finding).startswith("kernel.py:1: os is not a module an op may import; it may")


def test_the_spec_is_not_the_candidates() -> None:
    spec = f"{FOLDER}/spec.py"
    assert scan(OP | {spec: (FIXTURE / "spec.py").read_text()}, "relu2") == []
    assert scan(OP | {f"{FOLDER}/more.py": "import os"}, "relu2")


def test_long_chains_of_names_end() -> None:
    doubling = "a0 = 1\n" + "".join(f"a{i + 1} = a{i} + a{i}\n" for i in range(300))
    growing = "t = torch\ndef f(x: Tensor) -> Any:\n    t = t.a\n"
    assert scan({KERNEL: doubling}, "relu2") == []
    scan({KERNEL: OP[KERNEL] + growing}, "relu2")


@given(st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=8, unique=True))
def test_any_chain_of_aliases_leads_to_torch(names: list[str]) -> None:
    chain = "".join(f"{new} = {old}\n" for old, new in zip(["torch", *names], names, strict=False))
    text = f"import torch\n{chain}\n\ndef f(x):\n    return {names[-1]}.special.expit(x)\n"
    (finding,) = scan({KERNEL: text}, "relu2")
    assert (finding.rule, finding.line) == ("torch-compute", len(names) + 5)


@given(what=st.sampled_from([*CHEATS]), lines=st.integers(0, 9))
@settings(deadline=None)
def test_lines_move_with_the_text(what: str, lines: int) -> None:
    text = OP[KERNEL].replace('"""\n\nfrom', '"""\n' + "\n" * lines + "\nfrom", 1)
    text += f"\n\n{CHEATS[what]}\n"
    findings = scan(OP | {KERNEL: text}, "relu2")
    assert {(f.line, f.rule) for f in findings} == marked(text)


_WORDS = (
    "x y torch tl op f ( ) [ ] { } : = := . , * + @ \n \n\x20\x20\x20 def class lambda for in if "
)
_WORDS += "return with yield try except import from as global del 1 'a' None relu kernel triton jit"


@given(st.lists(st.sampled_from(re.split(" ", _WORDS)), max_size=40))
def test_any_text_is_scanned(words: list[str]) -> None:
    for path in (KERNEL, WRAPPER, TEST):
        assert all(finding.line >= 1 for finding in scan({path: " ".join(words)}, "relu2"))


@cache
def drafted(name: str) -> dict[str, str]:
    reference = find(name)
    files = DraftAuthor().render(analyze(reference, name), reference)
    return {path.as_posix(): text for path, text in files.items()}


CATALOGUE = [name for tier in tiers.tiers() if tier.number < 3 for name in tier.references]
VARIED = (
    "relu2 swiglu rms_norm layer_norm softmax logsumexp masked_softmax mse pinball prelu "
    "cosine_similarity dpo_sigmoid"
).split()


@pytest.mark.parametrize("name", VARIED)
def test_a_drafted_op_passes(name: str) -> None:
    assert scan(drafted(name), name) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", CATALOGUE)
def test_every_drafted_op_passes(name: str) -> None:
    assert scan(drafted(name), name) == []
