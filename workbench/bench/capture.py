"""Run an op's real host code with every Triton launch turned into a compile for an absent GPU.

The op runs forward and backward through autograd on meta tensors: they have shapes, strides and
dtypes but no memory, so real sizes cost nothing, and Triton takes their pointers for aligned ones,
which a GPU's are. The seam is `workbench_kernels.op.define`: here an op's implementation is also
its fake, so PyTorch runs the host code, launches included, where it would have asked for shapes.

All this changes PyTorch's and Triton's state for good: it belongs in a process of its own, where
TRITON_INTERPRET is not set.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from typing import Any

import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.errors import TritonError
from triton.runtime.cache import triton_key
from triton.runtime.driver import driver
from triton.runtime.jit import JITFunction

from workbench.bench.architectures import WARP_SIZE, Architecture
from workbench_kernels import op as library_op
from workbench_kernels.spec import OpSpec, Option
from workbench_kernels.truth import without

_RUN = JITFunction.run


@dataclass(frozen=True)
class Compiled:
    """A kernel, as compiled for the first (cols, dtype) that needed this specialisation."""

    kernel: str
    cols: int
    dtype: torch.dtype
    cubin: bytes
    shared_bytes: int
    num_warps: int


@dataclass
class Capture:
    """What one op's launches became: kernels by their hash, and what went wrong."""

    compiled: dict[str, Compiled] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def fail(self, message: str) -> None:
        """Note a failure, once."""
        if message not in self.failures:
            self.failures.append(message)


class Driver:
    """As much of a Triton GPU driver as compiling asks for."""

    def __init__(self, target: GPUTarget) -> None:
        self.target = target

    def get_current_target(self) -> GPUTarget:
        return self.target

    def get_current_device(self) -> int:
        """A number per target: a JITFunction remembers its target per device."""
        return int(self.target.arch)

    def get_current_stream(self, device: int) -> int:
        return 0

    def get_active_torch_device(self) -> torch.device:
        return torch.device("meta")

    def get_benchmarker(self) -> Callable[..., list[float]]:
        """For @triton.autotune: no configuration takes any time, so the first one is taken."""
        return lambda *_, **__: [0.0, 0.0, 0.0]


@cache
def load(op: str) -> tuple[Callable[..., Any], OpSpec]:
    """The op's functional form and its spec, defined so that it runs on meta tensors."""
    stock = library_op.define

    def define(
        name: str,
        implementation: Callable[..., Any],
        *,
        fake: Callable[..., Any],
        mutates: Sequence[str] = (),
    ) -> Callable[..., Any]:
        return stock(name, implementation, fake=implementation, mutates=mutates)

    library_op.define = define
    spec = import_module(f"workbench_kernels.{op}.spec").SPEC
    return getattr(import_module(f"workbench_kernels.{op}.wrapper"), op), spec


def warm_up(op: str) -> None:
    """Do what every compile needs done once, so that processes forked from this one share it."""
    _, spec = load(op)
    _inputs(spec, *spec.sweep[0], torch.bfloat16)
    triton_key()  # hashes Triton's own files


def capture(
    op: str,
    architecture: Architecture,
    dtypes: Sequence[torch.dtype],
    variants: Collection[str] = (),
    others: Collection[tuple[int, int]] = (),
) -> Capture:
    """Compile every kernel that the op's forward and backward launch.

    At sizes the op is benchmarked at: its narrowest, its middle and its widest rows. Of the
    `variants`, compiled at its narrowest ones, and of `others`, sizes it is not benchmarked at,
    nothing is kept but what went wrong.
    """
    result = Capture()
    driver.set_active(Driver(GPUTarget("cuda", architecture.capability, WARP_SIZE)))
    function, spec = load(op)
    for dtype in dtypes:
        for rows, cols in sizes(spec):
            _compile_launches(result, cols, dtype)
            try:
                _forward_and_backward(function, spec, _inputs(spec, rows, cols, dtype), {})
            except Exception as error:  # candidate code: whatever it raises is its failure
                result.fail(f"host code at {rows}x{cols} {dtype}: {type(error).__name__}: {error}")
    narrowest = sizes(spec)[0]
    tried = [(f"variant {name}", narrowest, spec.variants[name]) for name in variants]
    tried += [(f"{rows}x{cols}", (rows, cols), {}) for rows, cols in others]
    for label, (rows, cols), settings in tried:
        found = Capture()
        _compile_launches(found, cols, dtypes[0])
        try:
            inputs = _inputs(spec, rows, cols, dtypes[0])
            _forward_and_backward(function, spec, inputs, settings)
        except Exception as error:
            found.fail(f"{type(error).__name__}: {error}")
        for failure in found.failures:
            if failure not in result.failures:  # what is wrong at every size is told once
                result.fail(f"{label}: {failure}")
    return result


def sizes(spec: OpSpec) -> list[tuple[int, int]]:
    """At most three of the benchmarked (rows, cols), of different widths: kernels depend on it."""
    by_width = sorted({cols: (rows, cols) for rows, cols in spec.sweep}.items())
    chosen = {0, len(by_width) // 2, len(by_width) - 1}
    return [by_width[index][1] for index in sorted(chosen)]


def _compile_launches(result: Capture, cols: int, dtype: torch.dtype) -> None:
    """From now on a launch compiles its kernel and files it in `result`."""

    def run(self: Any, *args: Any, grid: Any, warmup: bool, **kwargs: Any) -> Any:
        try:
            kernel = _RUN(self, *args, grid=grid, warmup=True, **kwargs)
        except (TritonError, RuntimeError) as error:
            result.fail(f"{self.__name__} does not compile: {str(error).strip()}")
            return None
        compiled = Compiled(
            kernel=self.__name__,
            cols=cols,
            dtype=dtype,
            cubin=kernel.asm["cubin"],
            shared_bytes=kernel.metadata.shared,
            num_warps=kernel.metadata.num_warps,
        )
        result.compiled.setdefault(kernel.hash, compiled)
        return kernel

    JITFunction.run = run


def _inputs(spec: OpSpec, rows: int, cols: int, dtype: torch.dtype) -> list[Tensor]:
    with torch.device("meta"):
        drawn = spec.inputs(rows, cols)
    return [
        tensor.to(dtype).requires_grad_(name in spec.differentiable)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in zip(spec.tensors, drawn, strict=True)
    ]


def _forward_and_backward(
    function: Callable[..., Any],
    spec: OpSpec,
    inputs: Sequence[Tensor],
    settings: Mapping[str, Option],
) -> None:
    given = {n: None if n in settings else t for n, t in zip(spec.tensors, inputs, strict=True)}
    found = function(**given, **without(spec.tensors, {**spec.parameters, **settings}))
    outputs = [found] if isinstance(found, Tensor) else found
    differentiable = [output for output in outputs if output.requires_grad]
    if differentiable:
        torch.autograd.backward(differentiable, [torch.empty_like(o) for o in differentiable])
