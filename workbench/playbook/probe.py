"""What probes are made of, and the process that runs one: python -m workbench.playbook.probe.

A probe is a module with a function `probe(architecture)` that returns what it Found. Compiling
needs no GPU, only Triton's wheel.
"""

from __future__ import annotations

import importlib.util
import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from triton.backends.compiler import GPUTarget
from triton.runtime.driver import driver

from workbench.bench import cubin
from workbench.bench.architectures import WARP_SIZE, architecture
from workbench.bench.capture import Driver

Figure = int | float | str


@dataclass(frozen=True)
class Found:
    """Whether a fact holds, and the figures that say so."""

    holds: bool
    figures: dict[str, Figure]


@dataclass(frozen=True)
class Kernel:
    """A compiled kernel: what it uses, and Triton's own kernel, which has its text in `asm`."""

    usage: cubin.Usage
    compiled: Any

    @property
    def instructions(self) -> int:
        """How many there are.

        Raises:
            RuntimeError: the disassembler of Triton's wheel does not know the architecture.
        """
        if self.usage.instructions is None:
            raise RuntimeError("the disassembler does not know this architecture")
        return self.usage.instructions


def tensor(dtype: torch.dtype = torch.float32) -> Tensor:
    """An argument of a kernel: it has no memory, and is taken for an aligned one."""
    return torch.empty(64, dtype=dtype, device="meta")


def compiled(name: str, kernel: Any, *arguments: Any, **constants: Any) -> Kernel:
    """The kernel, compiled for the architecture of that name."""
    target = GPUTarget("cuda", architecture(name).capability, WARP_SIZE)
    driver.set_active(Driver(target))
    found = kernel.warmup(*arguments, grid=(1,), **constants)
    return Kernel(cubin.read(found.asm["cubin"]), found)


def quickest(ways: Mapping[str, Callable[..., object]], *arguments: object) -> dict[str, float]:
    """Microseconds of the host that a call takes each way, the quickest of many."""
    best = dict.fromkeys(ways, float("inf"))
    for _ in range(40):  # in turn, so that what else the machine does meets all
        for name, way in ways.items():
            started = time.perf_counter()
            for _ in range(200):
                way(*arguments)
            best[name] = min(best[name], (time.perf_counter() - started) / 200 * 1e6)
    return best


def main(file: Path, name: str) -> None:
    """Run the probe in a file, and print what it found as the last line."""
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"{file} is no module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # Triton looks a kernel's module up
    spec.loader.exec_module(module)
    found: Found = module.probe(name)
    print(json.dumps({"holds": found.holds, "figures": found.figures}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
