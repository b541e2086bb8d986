"""`patch` for those who choose kernels as transformers has it, by a `KernelConfig`.

    model.set_use_kernels(True, Kernels())

With such kernels a model puts forwards into its layers anew whenever it goes from training to
evaluation or back; over a patched layer's it would put another. Here it puts in what was patched.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import wraps
from inspect import unwrap
from types import MethodType
from typing import Any

from torch import nn
from transformers import KernelConfig
from transformers.utils.kernel_config import infer_device

from workbench_kernels.patching.apply import patch
from workbench_kernels.patching.instance import BOUND
from workbench_kernels.patching.report import Report
from workbench_kernels.patching.verdicts import Verdicts

_LAYER = "kernel_layer_name"


class Kernels(KernelConfig):  # type: ignore[misc]
    """For `model.set_use_kernels(True, Kernels())`, or `from_pretrained(…, device_map="cuda",
    kernel_config=Kernels())`: the model is patched, with these options of `patch`, and stays so.
    `report` tells what became of it, `unpatch(model)` restores it.

    inherit_mapping: functions, as those of linear attention, may be the hub's; layers are not.

    Raises:
        PatchError: as `patch`, when the kernels are set.
    """

    def __init__(
        self,
        *,
        only: Collection[str] | None = None,
        strict: bool = False,
        verdicts: Verdicts | None = None,
        inherit_mapping: bool = True,
    ) -> None:
        super().__init__(inherit_mapping=inherit_mapping)
        self.report: Report | None = None
        self._options: dict[str, Any] = {"only": only, "strict": strict, "verdicts": verdicts}

    def create_compatible_mapping(self, model: nn.Module, compile: bool = False) -> None:
        """Patch the model, and have each of its layers that may be another's keep its forward."""
        layers = [module for module in model.modules() if hasattr(type(module), _LAYER)]
        for module in layers:
            if _is_mapped(module):
                del module.forward
        self.report = patch(model, **self._options)
        device = infer_device(model)
        self.kernel_mapping = {
            getattr(type(module), _LAYER): {device: _Repository(type(module))} for module in layers
        }


def _is_mapped(module: nn.Module) -> bool:
    """Whether the instance's forward is what an earlier mapping put there for its class's."""
    forward = vars(module).get("forward")
    return isinstance(forward, MethodType) and unwrap(forward) is unwrap(type(module).forward)


@dataclass(frozen=True)
class _Repository:
    """Where the kernels library loads a layer from: one whose forward is what an instance has, or
    its class's.
    """

    of: type[nn.Module]

    def load(self) -> type[nn.Module]:
        @wraps(self.of.forward)  # the library compares signatures
        def forward(self: nn.Module, *args: Any, **kwargs: Any) -> Any:
            bound = self.__dict__.get(BOUND)
            if bound is None:
                return type(self).forward(self, *args, **kwargs)
            return bound(*args, **kwargs)

        return type(self.of.__name__, (nn.Module,), {"forward": forward, "can_torch_compile": True})
