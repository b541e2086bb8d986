"""The scan finds what a call leaves behind: kept results, caches, changes to what is shared."""

from __future__ import annotations

import pytest
from scan_helpers import KERNEL, check_found, sections

# What follows an honest kernel.py.
CHEATS = sections(r"""
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
--- on launch parameters
from workbench_kernels.tuning import Fixed
FORWARD = Fixed({"elements": 2048, "per_thread": 16})
def f(x: Tensor) -> None:
    FORWARD.kept = x  #! state
--- in launch parameters
from workbench_kernels.tuning import Fixed
KEPT = {}
FORWARD = Fixed({"elements": 2048, "per_thread": 16}, choices=KEPT)
def f(x: Tensor) -> None:
    FORWARD.choices["elements"] = x  #! state
    FORWARD.at(8)["elements"] = x  #! state
    FORWARD.at(8).update(elements=x)  #! state
    KEPT["elements"] = x  #! state
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
--- a cached function of what nobody declares
from functools import cache

@cache
def _seen(t):  #! cache
    return [t]
def f(x: Tensor, y) -> None:
    _seen(x.numel())
    _seen(y)
--- a warning of an object
import warnings
def f(x: Tensor) -> None:
    warnings.warn(Seen(x))  #! state
--- a warning by another name
import warnings
def f(x: Tensor) -> None:
    list(map(warnings.warn, [x]))  #! state torch-compute
--- a cached function that is handed on
from functools import cache

@cache
def _seen(t):  #! cache
    return [t]
def f(x: Tensor) -> None:
    _seen(3)
    list(map(_seen, [x]))  #! torch-compute
--- a cached function of keywords that are spread
from functools import cache

@cache
def _seen(t):  #! cache
    return [t]
def f(x: Tensor) -> None:
    _seen(3)
    _seen(**{'t': x})
--- a cached function that nobody calls
from functools import cache

@cache
def seen(t):  #! cache
    return [t]
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
""")


@pytest.mark.parametrize("what", CHEATS)
def test_a_cheat_is_found_at_its_line(what: str) -> None:
    check_found(KERNEL, CHEATS[what])
