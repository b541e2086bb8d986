"""The scan finds work outside kernels: tensors computed with, read, or told apart by address."""

from __future__ import annotations

import pytest
from scan_helpers import KERNEL, check_found, sections

# What follows an honest kernel.py.
CHEATS = sections(r"""
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
--- half a kernel, by the library's jit
from workbench_kernels.jit import jit
def _both(x):
    return x * x

_k = jit(_both)
def f(x: Tensor) -> Tensor:
    return _both(x)  #! kernel-call
--- a library's kernel as a function
from workbench_kernels.jit import jit
@jit(do_not_specialize=["n"])
def _k(X, n):
    tl.store(X, n)
def f(x: Tensor) -> None:
    _k(x, 3)  #! kernel-call
--- the library's launches
from workbench_kernels import jit
def f(x: Tensor) -> None:
    jit._watched()  #! name
    jit.JITFunction(f)  #! name
--- what a kernel keeps
from workbench_kernels.jit import jit
@jit
def _k(X):
    tl.store(X, 1)
_k._compiled.clear()  #! introspection
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
--- a square of what a context gives
from contextlib import contextmanager
@contextmanager
def _held(x):
    yield x
class _Held:
    def __init__(self, x: Tensor) -> None:
        self.x = x
    def __enter__(self):
        return self.x
    def __exit__(self, *error: object) -> None: ...
def f(x: Tensor) -> Any:
    with _held(x) as one, _Held(x) as other:
        return [one * one,  #! torch-compute
            other * other]  #! torch-compute
--- a square of the rest
def _first(*args):
    return args[0] * args[0]  #! torch-compute
def _named(**args):
    return args['x'] * args['x']  #! torch-compute
def f(x: Tensor) -> Any:
    return _first(x), _named(x=x)
--- a square by partial
from functools import partial
def _square(n, x):
    return x * x  #! torch-compute
def f(x: Tensor) -> Any:
    return partial(_square, 1)(x)
--- a square by map
def f(xs: list[Tensor]) -> Any:
    def square(x):
        return x * x  #! torch-compute
    return list(map(square, xs))
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
""")


@pytest.mark.parametrize("what", CHEATS)
def test_a_cheat_is_found_at_its_line(what: str) -> None:
    check_found(KERNEL, CHEATS[what])
