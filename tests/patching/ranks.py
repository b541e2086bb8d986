"""A patched model trained by two processes, each of which writes down its losses."""

from __future__ import annotations

import json
import os
from pathlib import Path

import torch
from processes import spawn
from torch import Tensor, distributed, nn
from torch.distributed.device_mesh import init_device_mesh

RANKS, STEPS = 2, 3
# How the model is spread over the processes, after it is patched or before.
WAYS = ("ddp", "fsdp2", "fsdp2 over the head", "ddp first", "fsdp2 first")


def train(folder: Path) -> dict[str, list[dict[str, list[float]]]]:
    """The losses of each rank, by the way and by whether the model was patched."""
    spawn(_rank, (str(folder),), RANKS)
    told = [json.loads((folder / f"{rank}.json").read_text()) for rank in range(RANKS)]
    return {way: [losses[way] for losses in told] for way in WAYS}


def _rank(rank: int, folder: str) -> None:
    on_gpus = torch.cuda.device_count() >= RANKS
    if not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"

        from workbench import interpreter

        torch.set_num_threads(1)
        interpreter.enable()
    from models import model

    from workbench_kernels.patching import patch
    from workbench_kernels.patching.verdicts import Verdicts

    device = torch.device("cuda", rank) if on_gpus else torch.device("cpu")
    if on_gpus:
        torch.cuda.set_device(device)
    distributed.init_process_group(
        "nccl" if on_gpus else "gloo",
        init_method=f"file://{folder}/store",
        rank=rank,
        world_size=RANKS,
    )
    known, losses = Verdicts(), {}
    for way in WAYS:
        plain, ours = (model("llama").to(device) for _ in range(2))
        if not way.endswith("first"):
            patch(ours, verdicts=known)
        spread = {"plain": _spread(plain, way, device), "patched": _spread(ours, way, device)}
        if way.endswith("first"):
            report = patch(spread["patched"], verdicts=known)
            assert not report.left, report
        losses[way] = {name: _losses(one, rank, device) for name, one in spread.items()}
    Path(folder, f"{rank}.json").write_text(json.dumps(losses))
    distributed.destroy_process_group()


def _spread(made: nn.Module, way: str, device: torch.device) -> nn.Module:
    if way.startswith("ddp"):
        return nn.parallel.DistributedDataParallel(made)
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh(device.type, (RANKS,))
    layers = made.model.layers  # type: ignore[union-attr]
    for layer in layers:  # type: ignore[union-attr]
        fully_shard(layer, mesh=mesh)
    if way.endswith("head"):
        fully_shard(made.lm_head, mesh=mesh)  # type: ignore[arg-type]
    return fully_shard(made, mesh=mesh)


def _losses(made: nn.Module, rank: int, device: torch.device) -> list[float]:
    """Each rank has rows of its own."""
    generator = torch.Generator().manual_seed(rank)
    rows = torch.randint(3, 61, (2, 8), generator=generator).to(device)
    optimizer = torch.optim.AdamW(made.parameters(), lr=1e-2)
    found = []
    for _ in range(STEPS):
        loss: Tensor = made(input_ids=rows, labels=rows).loss
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        found.append(float(loss.detach()))
    return found
