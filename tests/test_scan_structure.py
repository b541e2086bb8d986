"""The scan finds source of the wrong shape: caught errors, odd classes, foreign registrations."""

from __future__ import annotations

import pytest
from scan_helpers import KERNEL, check_found, sections

# What follows an honest kernel.py.
CHEATS = sections(r"""
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
--- a fallback beside an error in other words
def f(x: Tensor) -> Tensor:
    try:
        return relu2(x)
    except KeyError as error:
        raise ValueError('relu2') from error
    except ValueError:  #! try-except
        return x
--- an error of anything in other words
def f(x: Tensor) -> Tensor:
    try:
        return relu2(x)
    except Exception as error:  #! try-except
        raise ValueError('relu2') from error
--- any error in other words
def f(x: Tensor) -> Tensor:
    try:
        return relu2(x)
    except:  #! try-except
        raise ValueError('relu2')
--- an error when something else was done
def f(x: Tensor) -> Tensor:
    try:
        return relu2(x)
    except ValueError:  #! try-except
        if x.is_cuda:
            return x
        raise
--- a tensor at import, in a function
def _make(n: int):
    def inner() -> Tensor:
        return torch.zeros(n)
    return inner()
X = _make(3)  #! import-time
--- sets an attribute from outside
class C:
    def __init__(self, n: int) -> None:
        self.n = n
def f(c: C, x: Tensor) -> None:
    object.__setattr__(c, 'n', x)  #! dunder
--- sets an attribute of another
class C:
    def __init__(self, other: Any) -> None:
        object.__setattr__(other, 'n', 1)  #! dunder
--- sets an attribute by a made-up name
class C:
    def __init__(self, n: str) -> None:
        object.__setattr__(self, n, 1)  #! dunder
--- sets the class of itself
class C:
    def __init__(self) -> None:
        object.__setattr__(self, '__class__', dict)  #! dunder
--- sets an attribute in a call
class C:
    def __call__(self, x: Tensor) -> None:
        object.__setattr__(self, 'x', x)  #! dunder
--- suppress
from contextlib import suppress  #! name
--- an __exit__
class C:
    def __exit__(self, *error: Any) -> bool:  #! class
        return True
--- an __exit__ that yields
class C:
    def __exit__(self, *error: Any) -> Any:  #! class
        yield
--- an __exit__ by another name
class C:  #! class
    __exit__ = lambda self, *error: True
--- an __exit__ defined and assigned
class C:  #! class
    def __exit__(self, *error: Any) -> None: ...
    if BLOCK:
        __exit__ = print  #! builtin
--- torch functions assigned
class C:  #! class
    __torch_function__ = classmethod(lambda *a: None)
--- a context entered for good
def f(x: Tensor) -> None:
    torch.no_grad().__enter__()  #! dunder
--- a partial of a kernel
from functools import partial
_k = partial(_relu2_fwd, 1)  #! kernel-call
--- a kernel handed on
def f(x: Tensor) -> None:
    sorted([x], key=_relu2_fwd)  #! kernel-call
    list(map(*[_relu2_fwd, [x]]))  #! kernel-call
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


@pytest.mark.parametrize("what", CHEATS)
def test_a_cheat_is_found_at_its_line(what: str) -> None:
    check_found(KERNEL, CHEATS[what])
