"""Autotuned kernels in the interpreter: no time is measured, and every configuration is met.

A kernel must be right whichever configuration a GPU finds fastest, so each new key takes the next.
"""

from __future__ import annotations

from typing import Any

from triton.runtime.autotuner import Autotuner


def _bench(self: Any, *args: Any, config: Any, **meta: Any) -> float:
    """A time that makes the configuration whose turn it is the fastest."""
    return float(config is not self.configs[len(self.cache) % len(self.configs)])


def install() -> None:
    """Choose instead of benchmarking; the launch itself is the interpreter's."""
    Autotuner._bench = _bench
