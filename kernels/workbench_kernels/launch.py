"""What every launch needs: the right device, block sizes for a width, and a clear refusal where no
kernel can run.
"""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import NamedTuple

import torch
import triton
from torch import Tensor

SUPPORTED = (torch.float32, torch.bfloat16, torch.float16)


def interpreted() -> bool:
    """Whether kernels run in Triton's CPU interpreter (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def device_of(x: Tensor) -> AbstractContextManager[object]:
    """Make the tensor's device the current one: Triton launches on the current device, not on its
    arguments'.
    """
    if x.is_cuda:
        return torch.cuda.device_of(x)
    return nullcontext()


@cache
def _multiprocessors(device: int) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def multiprocessors(x: Tensor) -> int:
    """Streaming multiprocessors of the tensor's GPU; 1 in the interpreter, so that grids stay small
    but have loops.
    """
    return _multiprocessors(x.device.index) if x.is_cuda else 1


class Tile(NamedTuple):
    """Shape of the tile a program holds, and its warps. Both sides are powers of two."""

    block_rows: int
    block_cols: int
    num_warps: int


# Rows wider than this don't fit the registers of a program: they are read in blocks, in passes.
WIDEST_ROW = 16384


@cache
def row_tile(n_cols: int, *, loop: bool = False) -> Tile:
    """Whole rows per program, 16 or 32 elements a thread: one row if it's wide, several if narrow.

    About 1024 elements per program, or 4096 where it loops over blocks of rows: measured on an
    H200, within a few percent of the best tile at widths from 128 to 16384.
    """
    block_cols = triton.next_power_of_2(n_cols)
    block_rows = max(1, min(128, (4096 if loop else 1024) // block_cols))
    elements = block_rows * block_cols
    per_thread = 16 if loop or elements <= 4096 else 32
    most = 16 if elements <= WIDEST_ROW else 32
    num_warps = min(most, max(1, elements // (32 * per_thread)))
    return Tile(block_rows, block_cols, num_warps)


def wide_tile(n_cols: int) -> Tile:
    """The blocks in which a row too wide to hold is read.

    Few, large programs: the rows in flight must stay in the L2 cache from one pass to the next.
    """
    return Tile(1, 8192, 8) if n_cols <= 32768 else Tile(1, 16384, 16)


def stages(tile: Tile, loads: int, dtype: torch.dtype) -> int:
    """How many steps ahead a loop over rows loads: 3, or 1 where the buffers would crowd the shared
    memory.

    `loads` full-size tensors are read per step; a pipeline of 3 holds two steps of them in shared
    memory.
    """
    buffers = 2 * loads * tile.block_rows * tile.block_cols * dtype.itemsize
    return 3 if buffers <= 96 * 1024 else 1


@cache
def column_tile(n_cols: int) -> Tile:
    """Part of some rows per program, for ops that reduce nothing along a row: wide first, so that
    loads coalesce.
    """
    block_cols = min(1024, triton.next_power_of_2(n_cols))
    return Tile(max(1, 4096 // block_cols), block_cols, 4)


def programs(x: Tensor, n_rows: int, tile: Tile, columns: int = 1) -> int:
    """How many programs share the rows when each adds up what it visits: enough to fill the GPU,
    few parts to add.

    `columns` is the number of programs side by side along the columns.
    """
    resident = max(1, 16 // tile.num_warps) * multiprocessors(x)
    blocks = -(-n_rows // tile.block_rows)
    return min(blocks, max(1, resident // columns))


def check(op: str, **tensors: Tensor) -> None:
    """Refuse what the kernels don't serve: a dtype, a mix of devices or dtypes, a CPU without the
    interpreter.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them.
        ValueError: tensors on different devices, or on a CPU while kernels are compiled for a GPU.
    """
    first_name, first = next(iter(tensors.items()))
    for name, tensor in tensors.items():
        if tensor.dtype not in SUPPORTED:
            raise TypeError(
                f"{op}: {name} is {tensor.dtype}; served are float32, bfloat16 and float16"
            )
        if tensor.dtype != first.dtype:
            raise TypeError(
                f"{op}: {name} is {tensor.dtype} but {first_name} is {first.dtype}; cast one"
            )
        if tensor.device != first.device:
            raise ValueError(
                f"{op}: {name} is on {tensor.device} but {first_name} is on {first.device}"
            )
    if first.device.type == "cpu" and not interpreted():
        raise ValueError(
            f"{op}: {first_name} is on the CPU; move it to a GPU, or debug with TRITON_INTERPRET=1"
        )


def check_mask(op: str, like: Tensor, **masks: Tensor) -> None:
    """Refuse a mask that is not boolean, or not on the device of `like`.

    Raises:
        TypeError: a dtype other than bool.
        ValueError: another device.
    """
    for name, mask in masks.items():
        if mask.dtype != torch.bool:
            raise TypeError(f"{op}: {name} is {mask.dtype}; it must be torch.bool")
        if mask.device != like.device:
            raise ValueError(f"{op}: {name} is on {mask.device}, expected {like.device}")


def check_shape(op: str, name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    """Refuse a tensor whose shape is not the one expected of it.

    Raises:
        ValueError: with the name, the shape it has and the shape it should have.
    """
    if tensor.shape != expected:
        raise ValueError(
            f"{op}: {name} has shape {tuple(tensor.shape)}, expected {tuple(expected)}"
        )


def check_width(op: str, name: str, tensor: Tensor) -> None:
    """Refuse a tensor without columns: it has no rows to work on.

    Raises:
        ValueError: zero dimensions, or a last dimension of size 0.
    """
    if tensor.dim() == 0 or tensor.shape[-1] == 0:
        raise ValueError(
            f"{op}: {name} has shape {tuple(tensor.shape)}; its last dimension must not be empty"
        )
