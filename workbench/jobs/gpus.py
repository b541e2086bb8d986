"""The GPUs this process sees, whatever CUDA_VISIBLE_DEVICES calls them: PyTorch is asked, which
understands every notation, and each is named by its UUID, which no order of devices changes.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from workbench.evidence.machine import output


@dataclass(frozen=True)
class Gpu:
    """`visible` is what CUDA_VISIBLE_DEVICES can call it; `whole` the GPU it is, or is a slice of:
    slices share its clock and its power.
    """

    visible: str
    whole: str
    model: str


def gpus() -> list[Gpu]:
    """Those PyTorch can use, in its order; who is shown none need not wait for it."""
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return []
    import torch

    if not torch.cuda.is_available():
        return []
    whole = _slices(output("nvidia-smi", "-L"))
    found = []
    for index in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(index)
        uuid, model = str(properties.uuid), str(properties.name)
        sliced = f"MIG-{uuid}" in whole or " MIG " in model
        visible = f"MIG-{uuid}" if sliced else f"GPU-{uuid}"
        found.append(Gpu(visible, whole.get(visible, visible), model))
    return found


def _slices(listed: str) -> dict[str, str]:
    """The UUID of the GPU that each slice in the driver's list is of."""
    found, gpu = dict[str, str](), ""
    for uuid in re.findall(r"UUID: ((?:GPU|MIG)-[0-9a-f-]+)", listed):
        if uuid.startswith("GPU"):
            gpu = uuid
        else:
            found[uuid] = gpu
    return found
