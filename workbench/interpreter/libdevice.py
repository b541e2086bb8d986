"""libdevice functions in the interpreter, where Triton leaves empty bodies that return None."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Any

import torch
import triton.language as tl
from triton.language.extra import libdevice as stubs
from triton.language.extra.cuda import libdevice as cuda
from triton.runtime import interpreter
from triton.runtime.interpreter import InterpreterBuilder, TensorHandle

# libdevice functions that torch has under the same name and with the same meaning.
# fmt: off
_SAME = (
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "ceil", "copysign", "cos", "cosh",
    "erf", "erfc", "erfinv", "exp", "exp2", "expm1", "floor", "fmax", "fmin", "fmod", "hypot",
    "lgamma", "log", "log10", "log1p", "log2", "nextafter", "pow", "rsqrt", "signbit", "sin",
    "sinh", "sqrt", "tan", "tanh", "trunc",
)
# fmt: on
_OTHER = {
    "fabs": torch.abs,
    "rint": torch.round,
    "nearbyint": torch.round,
    "round": lambda x: torch.trunc(x + torch.copysign(torch.tensor(0.5), x)),
    "isnan": torch.isnan,
    "isinf": torch.isinf,
    "normcdf": torch.special.ndtr,
    "fdividef": torch.div,
    "fdiv_rn": torch.div,
    "frsqrt_rn": torch.rsqrt,
    "fsqrt_rn": torch.sqrt,
}
_FUNCTIONS = {**{name: getattr(torch, name) for name in _SAME}, **_OTHER}


def _function(symbol: str) -> Any:
    """The torch function for a symbol such as `__nv_tanhf` or `__nv_fast_expf`."""
    name = symbol.removeprefix("__nv_").removeprefix("fast_")
    for candidate in (name, name.removesuffix("f"), name.removesuffix("d")):
        if candidate in _FUNCTIONS:
            return _FUNCTIONS[candidate]
    raise NotImplementedError(f"libdevice function {symbol} is not available in the interpreter")


def _extern_elementwise(
    self: Any, library: str, path: str, symbol: str, operands: list[Any], result: Any, is_pure: bool
) -> Any:
    numbers = _function(symbol)(*(torch.tensor(operand.data) for operand in operands)).numpy()
    return TensorHandle(numbers.astype(interpreter._get_np_dtype(result.scalar)), result.scalar)


def install() -> None:
    """Let calls reach the CUDA declarations, as a GPU compile does, and compute them with torch.

    The declarations check argument types: float32 and float64 only, as on a GPU.
    """
    InterpreterBuilder.create_extern_elementwise = _extern_elementwise
    for name, declaration in inspect.getmembers(cuda, tl.core.is_builtin):
        bound = partial(declaration, _semantic=interpreter.interpreter_semantic)
        setattr(cuda, name, bound)
        if hasattr(stubs, name):
            setattr(stubs, name, bound)
