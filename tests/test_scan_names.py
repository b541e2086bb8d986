"""The scan lets an op use what is served and nothing else, by whatever name it is reached."""

from __future__ import annotations

import pytest
from scan_helpers import KERNEL, check_found, sections

# What follows an honest kernel.py.
CHEATS = sections(r"""
--- imports os
import os  #! import
def f() -> str | None:
    return os.environ.get('HOME')
--- imports what another name reaches
import os  #! import
def f() -> str:
    return getattr(kernel, 'os').name
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
    import sys as s  #! import
--- imports in a file that says it is only read
from typing import TYPE_CHECKING
TYPE_CHECKING = True
if TYPE_CHECKING:
    import sys as s  #! import
--- imports where types are not checked
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    pass
else:
    import sys as s  #! import
--- code in an annotation of literals
def f(x: "Literal[__import__('sys').path]") -> None: ...  #! annotation
--- code in a note on a type
def f(x: "Annotated[int, [].append(1)]") -> None: ...  #! annotation
--- torch by a pattern
def f(x: Tensor) -> Any:
    match torch:
        case object(nn=object(functional=F)):  #! name
            return F.softplus(x)  #! name
        case object(compile=c):  #! name
            return c
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
""")


@pytest.mark.parametrize("what", CHEATS)
def test_a_cheat_is_found_at_its_line(what: str) -> None:
    check_found(KERNEL, CHEATS[what])
