"""Every op's module by its CamelCase name: `from workbench_kernels.nn import RmsNorm` for the op
`rms_norm`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

from workbench_kernels import ops


def module_name(op: str) -> str:
    """The nn.Module's name for an op: `rms_norm` -> `RmsNorm`."""
    return "".join(part[:1].upper() + part[1:] for part in op.split("_"))


def __getattr__(name: str) -> Any:
    by_module = {module_name(op): op for op in ops()}
    if name not in by_module:
        raise AttributeError(
            f"no module named {name!r}; there are: {', '.join(by_module) or 'none'}"
        )
    return getattr(import_module(f"workbench_kernels.{by_module[name]}.wrapper"), name)


def __dir__() -> list[str]:
    return [module_name(op) for op in ops()]
