"""What every launch needs: the right device, tiles by what an op declares (`tuning`), and a clear
refusal where no kernel can run.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import NamedTuple

import torch
import triton
from torch import Tensor

from workbench_kernels.tuning import NO_LIMIT, ByWidth, Fixed, Table

SUPPORTED = (torch.float32, torch.bfloat16, torch.float16)
_AS_IT_IS = nullcontext()


def interpreted() -> bool:
    """Whether kernels run in Triton's CPU interpreter (TRITON_INTERPRET=1)."""
    return os.environ.get("TRITON_INTERPRET") == "1"


def device_of(x: Tensor) -> AbstractContextManager[object]:
    """Make the tensor's device the current one: Triton launches on the current device, not on its
    arguments'.
    """
    if x.is_cuda and x.get_device() != torch.cuda.current_device():
        return torch.cuda.device_of(x)
    return _AS_IT_IS


def cdiv(number: int, size: int) -> int:
    """How many blocks of that size hold so many; triton.cdiv takes the host 60 times as long."""
    return -(-number // size)


def per_row(x: Tensor) -> Tensor:
    """Room for a float32 for each row of x, flat: a size takes the host half as long as a shape."""
    return x.new_empty(x.numel() // x.shape[-1], dtype=torch.float32)


def contiguous(t: Tensor | None) -> Tensor | None:
    """The tensor without gaps, or none where there is none."""
    return None if t is None else t.contiguous()


@cache
def _multiprocessors(device: int) -> int:
    return torch.cuda.get_device_properties(device).multi_processor_count


def multiprocessors(x: Tensor) -> int:
    """Streaming multiprocessors of the tensor's GPU; 1 in the interpreter, so that grids stay small
    but have loops.
    """
    return _multiprocessors(x.device.index) if x.is_cuda else 1


class Tile(NamedTuple):
    """Shape of the tile a program holds, a power of two each way, its warps, and how it loops."""

    block_rows: int
    block_cols: int
    num_warps: int
    stages: int = 3  # most steps ahead that a loop loads
    resident: int = 16  # warps per multiprocessor that programs which loop are started for
    pieces: int = 1  # tiles side by side that a program holds
    registers: int | None = None  # most that a thread may have, if that is limited


# Rows wider than this don't fit the registers of a program: they are read in blocks, in passes.
WIDEST_ROW = 16384
_SHARED_BYTES = 96 * 1024  # of a program's shared memory, what the buffers of its loop may take
_MOST_SHARED_BYTES = 160 * 1024  # with the step that is worked on, where that has a buffer too


@cache
def row_tile(n_cols: int, table: Table) -> Tile:
    """Whole rows per program, for ops that reduce along a row: several where they are narrow."""
    block_cols = triton.next_power_of_2(n_cols)
    parameters = _parameters(table, n_cols)
    return _tile(min(128, parameters["elements"] // block_cols), block_cols, parameters)


_PIECES = 8  # most that a row is held in
_NARROWEST = 128  # piece
_ONE_LOAD = 8  # elements of 16 bits
_ONE_REQUEST = 32  # elements, in which memory is still read without waste


@cache
def piece_tile(n_cols: int, table: Table) -> Tile:
    """Whole rows per program, each in pieces side by side (`pieces`), so that few lanes are empty:
    5120 columns are five pieces of 1024, where `row_tile` has one of 8192.
    """
    parameters = _parameters(table, n_cols)
    block_cols = _piece(n_cols, parameters["per_thread"])
    pieces = cdiv(n_cols, block_cols)
    tile = _tile(
        min(128, parameters["elements"] // (pieces * block_cols)), block_cols, parameters, pieces
    )
    # More warps than that would load in halves of halves.
    most = _power_of_2(tile.block_rows * tile.block_cols // (32 * _ONE_LOAD // 2))
    return tile._replace(num_warps=min(tile.num_warps, most))


def _piece(n_cols: int, per_thread: int) -> int:
    """As wide as what all threads load at once, or narrower."""
    if n_cols <= _NARROWEST:
        return triton.next_power_of_2(n_cols)
    whole = triton.next_power_of_2(n_cols)
    width = max(_NARROWEST, whole // min(_PIECES, max(1, per_thread // _ONE_LOAD)))
    return _fitting(n_cols, _power_of_2(width), max(_NARROWEST, whole // _PIECES))


def _fitting(n_cols: int, widest: int, narrowest: int) -> int:
    """The widest power of two that leaves at most an eighth of its multiple's lanes empty; if none
    does, the one that leaves the fewest.
    """
    empty = {}
    width = widest
    while width >= narrowest:
        lanes = cdiv(n_cols, width) * width
        if (lanes - n_cols) * 8 <= lanes:
            return width
        empty[width] = lanes - n_cols
        width //= 2
    return min(empty, key=lambda width: empty[width])


@cache
def channel_tile(channels: int, positions: int, table: Table) -> Tile:
    """Some channels and their positions, or a piece of those, where both lie side by side and each
    channel has parameters of its own: all at once if the program can hold as much.
    """
    parameters = _parameters(table, channels * positions)
    elements, per_thread = parameters["elements"], parameters["per_thread"]
    # Blocks of one length: of 20000 positions two of 10000, not one of 16384 and a rest.
    positions = cdiv(positions, cdiv(positions, elements))
    whole = triton.next_power_of_2(positions)
    narrowest = min(whole, max(_ONE_REQUEST, whole // _PIECES))
    widest = max(narrowest, whole // max(1, per_thread // _ONE_LOAD))
    block_cols = _fitting(positions, widest, narrowest)
    pieces = cdiv(positions, block_cols)
    block_rows = triton.next_power_of_2(channels)
    if pieces * block_cols * block_rows > elements:
        most = _power_of_2(min(block_rows, elements // (pieces * block_cols)))
        block_rows = _fitting(channels, most, max(1, most // _PIECES))
    return _tile(block_rows, block_cols, parameters, pieces)


@cache
def wide_tile(n_cols: int, table: Table) -> Tile:
    """The blocks in which a row too wide to hold is read.

    Few, large programs are best: the rows in flight must stay in the L2 cache from one pass to the
    next.
    """
    parameters = _parameters(table, n_cols)
    return _tile(1, parameters["elements"], parameters)


def part_tile(n_cols: int, table: Table) -> Tile:
    """Whole rows where they are narrow, part of one where they are wide."""
    narrow, wide = row_tile(n_cols, table), wide_tile(n_cols, table)
    return narrow if narrow.block_cols <= wide.block_cols else wide


@cache
def column_tile(n_cols: int, table: Table) -> Tile:
    """Part of some rows per program, for ops that reduce nothing along a row: wide first, so that
    loads coalesce.
    """
    parameters = _parameters(table, n_cols)
    elements = parameters["elements"]
    block_cols = min(elements, parameters["columns"], triton.next_power_of_2(n_cols))
    return _tile(elements // block_cols, block_cols, parameters)


@cache
def flat_tile(table: Fixed) -> Tile:
    """A block of elements per program, for ops to which rows and columns are all the same."""
    parameters = _parameters(table, 1)
    return _tile(1, parameters["elements"], parameters)


def _parameters(table: Table, n_cols: int) -> Mapping[str, int]:
    # Nothing else: a tile is kept for later calls, so it must be made of plain numbers.
    if type(table) not in (Fixed, ByWidth):
        raise TypeError(f"a tile is made by a Fixed or ByWidth of tuning, not by {table!r}")
    return table.at(n_cols)


def _tile(block_rows: int, block_cols: int, parameters: Mapping[str, int], pieces: int = 1) -> Tile:
    """The tile nearest to the sides asked for that can be launched, with the warps it needs."""
    rows, cols = _power_of_2(block_rows), _power_of_2(block_cols)
    warps = _power_of_2(min(32, pieces * rows * cols // (32 * parameters["per_thread"])))
    loop = {name: parameters[name] for name in ("stages", "resident") if name in parameters}
    registers = parameters.get("registers", NO_LIMIT)
    limit = None if registers == NO_LIMIT else registers
    return Tile(rows, cols, warps, **loop, pieces=pieces, registers=limit)


def _power_of_2(number: int) -> int:
    """The largest power of two up to `number`; 1 below that."""
    return 1 << max(0, number.bit_length() - 1)


def stages(tile: Tile, loads: int, dtype: torch.dtype, conditional: bool = False) -> int:
    """How many steps ahead a loop over rows loads: as the tile says, or 1 where the buffers would
    crowd the shared memory.

    `loads` full-size tensors are read per step; a pipeline of n holds n - 1 steps of them in shared
    memory, or n where the loop works in a condition (`pieces`), as `conditional` says.
    """
    step = loads * tile.pieces * tile.block_rows * tile.block_cols * dtype.itemsize
    held = tile.stages * step if conditional else 0
    fits = (tile.stages - 1) * step <= _SHARED_BYTES and held <= _MOST_SHARED_BYTES
    return tile.stages if fits else 1


def programs(x: Tensor, n_rows: int, tile: Tile, columns: int = 1) -> int:
    """How many programs share the rows when each adds up what it visits: enough to fill the GPU,
    few parts to add.

    `columns` is the number of programs side by side along the columns.
    """
    resident = max(1, tile.resident // tile.num_warps) * multiprocessors(x)
    blocks = cdiv(n_rows, tile.block_rows)
    return min(blocks, max(1, resident // columns))


def check(op: str, **tensors: Tensor) -> None:
    """Refuse what the kernels don't serve: a dtype, a mix of devices or dtypes, a CPU without the
    interpreter.

    Raises:
        TypeError: a dtype that is not float32, bfloat16 or float16, or a mix of them.
        ValueError: tensors on different devices, or on a CPU while kernels are compiled for a GPU.
    """
    first_name, first = next(iter(tensors.items()))
    dtype, device = first.dtype, first.device
    for name, tensor in tensors.items():
        if tensor.dtype not in SUPPORTED:
            raise TypeError(
                f"{op}: {name} is {tensor.dtype}; served are float32, bfloat16 and float16"
            )
        if tensor.dtype != dtype:
            raise TypeError(f"{op}: {name} is {tensor.dtype} but {first_name} is {dtype}; cast one")
        if tensor.device != device:
            raise ValueError(f"{op}: {name} is on {tensor.device} but {first_name} is on {device}")
    if first.is_cpu and not interpreted():
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


def sizes(shape: int | Sequence[int]) -> tuple[int, ...]:
    """A shape as a tuple; PyTorch takes a size alone for one dimension."""
    return (shape,) if isinstance(shape, int) else tuple(shape)


def normalized_dims(op: str, input: Tensor, normalized_shape: int | Sequence[int] | None) -> int:
    """How many of the last dimensions `normalized_shape` names; None is the last one.

    Raises:
        TypeError: it is a tensor, as where weight was to be given.
        ValueError: those are not the sizes of the last dimensions.
    """
    if normalized_shape is None:
        return 1
    if isinstance(normalized_shape, Tensor):
        raise TypeError(f"{op}: normalized_shape is a tensor; weight comes after it, or by name")
    wanted, shape = sizes(normalized_shape), tuple(input.shape)
    if not wanted or shape[-len(wanted) :] != wanted:
        what = f"normalized_shape is {wanted}, but input has shape {shape}"
        raise ValueError(f"{op}: {what}: those are not its last dimensions")
    return len(wanted)
