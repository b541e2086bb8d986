"""The scan finds nothing in what the authors of honest ops write."""

from __future__ import annotations

import pytest
from scan_helpers import KERNEL, scanned, sections

# What follows an honest kernel.py.
HONEST = sections(r"""
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
--- overloads, of which one takes no tensor
from typing import overload
@overload
def f(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]: ...
@overload
def f(q: Tensor, k: None) -> Tensor: ...
def f(q: Tensor, k: Tensor | None) -> Tensor | tuple[Tensor, Tensor]:
    return q if k is None else (q, k)

def g(q: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:
    return f(q, k)
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
    assert isinstance(k, triton.JITFunction) and callable(k), f'one of {sorted(KERNELS)}'
    for n, (k, y) in enumerate(zip(KERNELS.values(), (x, x), strict=True)):
        k[(1,)](y, y, n, BLOCK=16)
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
from workbench_kernels import launch, numerics, partials, spec, testing, tuning
from workbench_kernels.softmax import kernel as other
from workbench_kernels.nn import RmsNorm
INTERPRETED = launch.interpreted()
FORWARD = tuning.ByWidth({"elements": 1024, "per_thread": 16}, {8192: {"per_thread": 32}})
def f(x: Tensor) -> Tensor:
    tile = launch.row_tile(x.shape[-1], FORWARD)
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
--- launchers made when imported
def _launcher(kernel, block: int = 64):
    def launch(*tensors: Tensor) -> Tensor:
        out = torch.empty_like(tensors[0])
        kernel[(triton.cdiv(out.numel(), block),)](out, *tensors, out.numel(), BLOCK=block)
        return out
    return launch

_forward = _launcher(_relu2_fwd)
_backward = _launcher(_relu2_bwd, 128)
--- a frozen dataclass with fields that follow from others
from dataclasses import dataclass, field

@dataclass(frozen=True)
class Plan:
    n: int
    block: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, 'block', triton.next_power_of_2(self.n))

def f(x: Tensor) -> int:
    return Plan(x.numel()).block * 2
--- an error in other words
import enum

class Kind(enum.Enum):
    SUM = 'sum'

def f(kind: str, table: dict[str, int]) -> int:
    try:
        kind = Kind(kind).value
    except ValueError as error:
        raise ValueError(f'relu2: {kind!r} is none of {[*Kind]}') from error
    try:
        return table[kind]
    except (KeyError, IndexError):
        raise TypeError(f'relu2: no {kind}') from None
--- types with notes
from typing import Annotated
def f(x: Annotated[Tensor, '(rows, cols)'], n: 'Annotated[int, ">0"]' = 1) -> Tensor:
    return x
--- contexts in classes
class _On:
    def __init__(self, x: Tensor) -> None:
        self.inner = device_of(x)

    def __enter__(self) -> '_On':
        self.inner.__enter__()
        return self

    def __exit__(self, *error: object) -> bool:
        self.inner.__exit__(*error)
        return False
--- numbers in a class
class Size:
    __slots__ = ('n',)

    def __init__(self, n: int) -> None:
        self.n = n

    def __int__(self) -> int:
        return self.n

    def __bool__(self) -> bool:
        return self.n > 0

    def __ge__(self, other: 'Size') -> bool:
        return self.n >= other.n
    __index__ = __int__
--- versions unpacked
MAJOR, MINOR = (int(part) for part in triton.__version__.split('.')[:2])
FIRST, *REST = map(int, triton.__version__.split('.')[:2])
--- imports for type checkers
from typing import TYPE_CHECKING
if TYPE_CHECKING:
    import numpy as np
    from torch._prims_common import DeviceLikeType
def f(x: Tensor, device: 'DeviceLikeType', n: 'np.ndarray') -> Tensor:
    return x
--- kernels handed to partial and map
from functools import partial
def _run(kernel, block: int, *tensors: Tensor) -> Tensor:
    y = torch.empty_like(tensors[0])
    kernel[(triton.cdiv(y.numel(), block),)](y, *tensors, y.numel(), BLOCK=block)
    return y

_forward = partial(_run, _relu2_fwd, 1024)
def g(x: Tensor) -> Tensor:
    run = partial(_run, _relu2_fwd)
    sized = partial(run, 1024)
    return sized(x)
def f(xs: list[Tensor]) -> list[Tensor]:
    return [*map(_forward, xs), *map(relu2, xs), *map(lambda t: t.contiguous(), xs)]
--- a warning, and imports that are forgotten
import os
import warnings
import sys
def f(x: Tensor) -> Tensor:
    if not x.is_contiguous():
        warnings.warn(f'relu2: copies {tuple(x.shape)}', stacklevel=2)
    return x
--- checks by torch
def f(x: Tensor) -> str:
    torch._check_value(x.dim() > 0, lambda: f'{f.__qualname__}: a scalar')
    torch._check_type(x.dtype != torch.float64, lambda: 'float64')
    return f.__module__
--- cached sizes without hints
from functools import lru_cache

@lru_cache(maxsize=None)
def _block(n, wide=False):
    return triton.next_power_of_2(n) * (2 if wide else 1)

def f(x: Tensor) -> int:
    return _block(x.shape[-1]) + _block(x.numel(), wide=x.is_cuda)
""")


@pytest.mark.parametrize("what", HONEST)
def test_honest_code_passes(what: str) -> None:
    assert scanned(KERNEL, HONEST[what])[1] == []
