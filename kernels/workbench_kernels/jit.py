"""`jit` for what is launched: `triton.jit`, but a launch like one before costs the host less.

Triton looks its settings up, describes every argument and writes the key of what it compiled as
text, launch for launch: 10 us of a launch's 15. Here a launch finds what Triton compiled for it by
a key that tells apart at least what Triton does. Whatever is out of the ordinary, Triton does.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import triton
from torch import Tensor
from torch.nn import Parameter
from triton.runtime.jit import JITFunction

from workbench_kernels.launch import interpreted

_TRITONS = vars(triton.runtime.jit)
_SETTINGS = triton.knobs.runtime
_DRIVER = triton.runtime.driver
_ALIGNED = 16  # bytes, or a multiple of a number: what Triton compiles another kernel for
_INT32 = 2**31
_ONE = 2  # how a number 1 is told from those that are a multiple of _ALIGNED, or not


class _Other(Exception):
    """An argument of a kind that only Triton can tell apart."""


class _Kernel(JITFunction[Any]):  # type: ignore[misc]
    """A `triton.jit` function that finds by itself what was compiled, launches and returns it."""

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        super().__init__(function, **options)
        # What Triton compiled, and the values of the constants behind a launch's arguments.
        self._compiled: dict[tuple[object, ...], tuple[Any, tuple[object, ...]]] = {}

    def __getitem__(self, grid: Any) -> Callable[..., Any]:
        return partial(self._launch, grid)

    def _launch(self, grid: Any, *args: Any, **constants: Any) -> Any:
        if type(grid) is not tuple or self.pre_run_hooks or _watched():
            return self.run(*args, grid=grid, warmup=False, **constants)
        active = _DRIVER.active
        device = active.get_current_device()
        try:
            key = (device, *_kinds(args), *constants.items())
            compiled = self._compiled.get(key)
        except (_Other, TypeError):  # TypeError: a constant that can't be part of a key
            return self.run(*args, grid=grid, warmup=False, **constants)
        if compiled is None:
            kernel = self.run(*args, grid=grid, warmup=False, **constants)
            self._keep(key, kernel, len(args), constants)
            return kernel
        x, y, z = grid if len(grid) == 3 else (*grid, 1, 1)[:3]
        kernel, behind = compiled
        how = active.get_current_stream(device), kernel.function, kernel.packed_metadata
        kernel.run(x, y, z, *how, None, None, None, *args, *behind)
        return kernel

    def _keep(
        self, key: tuple[object, ...], kernel: Any, given: int, constants: dict[str, Any]
    ) -> None:
        """Keep what Triton compiled, if its key says all: constants by name, the rest by place."""
        behind = self.params[given:]
        if kernel is None or any(one.is_constexpr for one in self.params[:given]):
            return
        if all(one.is_constexpr and (one.name in constants or one.has_default) for one in behind):
            values = tuple(constants.get(one.name, one.default) for one in behind)
            self._compiled[key] = kernel, values


def jit(
    function: Callable[..., Any] | None = None, *, do_not_specialize: list[str] | None = None
) -> Any:
    """`triton.jit` for a kernel that is launched; for one that only kernels call, use Triton's.

    do_not_specialize: numbers that no kernel of their own is compiled for, as Triton's.
    """
    if function is None:
        return partial(jit, do_not_specialize=do_not_specialize)
    # Elsewhere than on NVIDIA's, Triton looks at more than `_kinds` does.
    if interpreted() or torch.version.hip is not None:
        return triton.jit(function, do_not_specialize=do_not_specialize)
    return _Kernel(function, do_not_specialize=do_not_specialize)


def _kinds(args: tuple[Any, ...]) -> list[object]:
    """What of each argument Triton may compile another kernel for, or something finer."""
    kinds: list[object] = []
    for value in args:
        kind = type(value)
        if kind is Tensor or kind is Parameter:
            kinds += (value.dtype, value.data_ptr() % _ALIGNED == 0)
        elif kind is int and -_INT32 <= value < _INT32:
            kinds.append(_ONE if value == 1 else value % _ALIGNED == 0)
        elif value is None or kind is float or kind is bool:
            kinds.append(kind)
        elif kind is tuple:
            kinds.append(tuple(_kinds(value)))
        else:
            raise _Other
    return kinds


def _watched() -> bool:
    """Whether somebody looks at launches: a profiler by Triton's hooks, or who replaced `run`."""
    enter, leave = _SETTINGS.launch_enter_hook, _SETTINGS.launch_exit_hook
    return (
        bool(getattr(enter, "calls", enter))
        or bool(getattr(leave, "calls", leave))
        or getattr(JITFunction.run, "__globals__", None) is not _TRITONS
    )
