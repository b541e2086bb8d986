"""What ops on the logits of a linear head, x·Wᵀ + bias, have in common: the logits never lie in
memory whole.

`kept_rows` finds the rows that take part, so that the others cost no product. `Head` takes them in
chunks through one buffer: a chunk's logits are multiplied, an op's own kernel makes of them what it
is for, and where it leaves their gradient in their place, `Head.differentiate` adds that to

    dx = draw·W        dW = drawᵀ·x        dbias = Σᵢ draw

Of N rows, H columns of x and V classes, products take 6·N·V·H operations, and everything else moves
bytes: besides what an op's kernel moves, each chunk reads dW and writes it, and in 16 bits rounds
it. So chunks should be few, and `chunk_rows` makes them as large as the bytes given for them allow.
Their error: where the rounding of dW is most of it, 2 chunks have up to 1.22 times the error of one
product, 4 up to 1.58, 8 up to 2.12 (√(1/C + 2/C + … + 1)).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from workbench_kernels.jit import jit
from workbench_kernels.launch import (
    SUPPORTED,
    Tile,
    cdiv,
    check,
    check_shape,
    check_width,
    wide_tile,
)
from workbench_kernels.partials import add_parts
from workbench_kernels.products import add_product, multiply, read_count
from workbench_kernels.tuning import Table

_ALIGNED = 128  # rows of a chunk are a multiple of a product's tile, where there are several
_STARTS = 16  # rows of which a chunk's first is a multiple: else Triton compiles for it anew
_SCAN = 1024  # rows at a time, where one program goes through all of them
_COLUMNS = 1024  # of a row, for a program that copies it
_SUMMED, _NARROW = 512, 128  # rows and columns that one program adds up


class Rows(NamedTuple):
    """Which rows take part."""

    places: Tensor | None  # int32: where they are, in order, then −1; None: one after the other
    number: int  # how many rows to go through
    kept: Tensor  # how many take part, int32, on the device


@jit(do_not_specialize=["n_rows", "ignore_index"])
def _keep_rows(PLACES, KEPT, TARGET, n_rows, ignore_index, BLOCK: tl.constexpr):
    count = tl.zeros([], tl.int32)
    for start in range(0, n_rows, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        mask = rows < n_rows
        kept = mask & (tl.load(TARGET + rows, mask=mask, other=0) != ignore_index)
        ones = kept.to(tl.int32)
        tl.store(PLACES + count + tl.cumsum(ones, 0) - 1, rows, mask=kept)
        count += tl.sum(ones, 0)
    for start in range(0, n_rows, BLOCK):
        rows = start + tl.arange(0, BLOCK)
        tl.store(PLACES + rows, rows * 0 - 1, mask=(rows >= count) & (rows < n_rows))
    tl.store(KEPT, count)


@jit
def _gather_rows(PART, X, PLACES, n_cols, BLOCK: tl.constexpr):
    to = tl.program_id(0).to(tl.int64)
    row = tl.load(PLACES + to).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = cols < n_cols
    x = tl.load(X + row * n_cols + cols, mask=mask & (row >= 0), other=0.0)
    tl.store(PART + to * n_cols + cols, x, mask=mask)


@jit
def _scatter_rows(DX, PART, PLACES, n_cols, BLOCK: tl.constexpr):
    at = tl.program_id(0).to(tl.int64)
    row = tl.load(PLACES + at).to(tl.int64)
    cols = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    mask = (cols < n_cols) & (row >= 0)
    tl.store(DX + row * n_cols + cols, tl.load(PART + at * n_cols + cols, mask=mask), mask=mask)


@jit(do_not_specialize=["n_rows"])
def _add_rows(PARTS, DRAW, n_rows, n_cols, BLOCK_ROWS: tl.constexpr, BLOCK_COLS: tl.constexpr):
    # Several sums of each column, which grow by less and so lose less.
    SUMS: tl.constexpr = 16
    cols = tl.program_id(0) * BLOCK_COLS + tl.arange(0, BLOCK_COLS)[None, :]
    mask = cols < n_cols
    first = tl.program_id(1).to(tl.int64) * BLOCK_ROWS
    total = tl.zeros([SUMS, BLOCK_COLS], tl.float32)
    for start in range(first, min(first + BLOCK_ROWS, n_rows), SUMS):
        rows = start + tl.arange(0, SUMS)[:, None]
        own = mask & (rows < n_rows)
        total += tl.load(DRAW + rows * n_cols + cols, mask=own, other=0.0).to(tl.float32)
    total = tl.sum(total, axis=0, keep_dims=True)
    tl.store(PARTS + tl.program_id(1).to(tl.int64) * n_cols + cols, total, mask=mask)


def kept_rows(
    target: Tensor, ignore_index: int, *, compact: bool, number: int | None = None
) -> Rows:
    """The rows whose target is not ignored. To `compact` waits for the GPU once, to know how many
    there are, unless their `number` is known; else the ignored ones are gone through too, as rows
    of zeros after the others.

    target: (rows,), contiguous.
    """
    n_rows = target.numel()
    places = target.new_empty(n_rows, dtype=torch.int32)
    kept = target.new_empty((), dtype=torch.int32)
    _keep_rows[(1,)](places, kept, target, n_rows, ignore_index, BLOCK=_SCAN)
    if not compact:
        return Rows(places, n_rows, kept)
    number = read_count(kept, n_rows) if number is None else number
    return Rows(places if number < n_rows else None, number, kept)


def chunk_rows(n_rows: int, row_bytes: int, chunk_bytes: int) -> int:
    """How many rows of so many bytes go through a buffer at a time: as many as fit, in equal
    chunks of whole tiles.
    """
    fit = chunk_bytes // row_bytes
    unit = _unit(fit)
    fit = max(1, fit - fit % unit)
    even = cdiv(n_rows, max(1, cdiv(n_rows, fit)))
    return max(1, min(fit, cdiv(even, unit) * unit))


def rows_within(n_rows: int, row_bytes: int, most_bytes: int) -> int:
    """How many of so many rows fit: all, or as many as the largest chunk of these bytes has."""
    fit = most_bytes // row_bytes
    return n_rows if fit >= n_rows else fit - fit % _unit(fit)


def _unit(fit: int) -> int:
    """What the rows of a chunk are a multiple of, where so many fit. Products compute whole tiles:
    linear_logprobs of 8192 × 4096 × 151936 takes an H200 64.4 ms in chunks of 768 rows, 68.3 in
    chunks of 832.
    """
    return _ALIGNED if fit >= 4 * _ALIGNED else _STARTS if fit >= _STARTS else 1


def bounds(start: int, stop: int, row_bytes: int, chunk_bytes: int) -> list[tuple[int, int]]:
    """The chunks of the rows from `start` to `stop`: where each begins and ends."""
    size = chunk_rows(stop - start, row_bytes, chunk_bytes)
    return [(at, min(at + size, stop)) for at in range(start, stop, size)]


@cache
def tile_of_logits(n_cols: int, table: Table) -> Tile:
    """The block in which a row of logits is read: no wider than the row."""
    tile = wide_tile(n_cols, table)
    width = min(tile.block_cols, triton.next_power_of_2(n_cols))
    return tile._replace(
        block_cols=width, num_warps=max(1, tile.num_warps * width // tile.block_cols)
    )


class Chunk(NamedTuple):
    """Some of the rows that take part: from `start` on."""

    start: int
    x: Tensor  # (rows, H)
    logits: Tensor  # (rows, V)
    places: Tensor | None  # where they are in x of the head; None: at `start`

    def of(self, per_row: Tensor | None) -> Tensor | None:
        """What has a value for each row of the head, from where this chunk's kernels count."""
        return per_row if per_row is None or self.places is not None else per_row[self.start :]


class Head:
    """The logits of a linear head, some rows at a time, and the gradients `needs` asks for: of x,
    weight and bias.

    x: (N, H); weight: (V, H); bias: (V,); of one dtype. `bounds` are the chunks. `wide_sums`: the
    weight's gradient is added up in float32.
    """

    def __init__(
        self,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        rows: Rows,
        bounds: Sequence[tuple[int, int]],
        needs: Sequence[bool],
        *,
        wide_sums: bool = False,
    ) -> None:
        self.x, self.weight, self.rows, self.bounds = x.contiguous(), weight, rows, bounds
        self.bias = None if bias is None else bias.contiguous()
        self._dx = self._dweight = self._parts = self._gathered = None
        self._begun, self._parted = False, 0
        if needs[0]:
            make = torch.empty_like if rows.places is None else torch.zeros_like
            self._dx = make(self.x)
        if needs[1]:
            sums = torch.float32 if wide_sums else x.dtype
            new = weight.new_empty if bounds else weight.new_zeros
            self._dweight = new(weight.shape, dtype=sums)
        if needs[2]:
            parts = sum(cdiv(stop - start, _SUMMED) for start, stop in bounds)
            self._parts = x.new_empty((parts, weight.shape[0]), dtype=torch.float32)
        if rows.places is not None:
            self._gathered = x.new_empty(_largest(bounds), x.shape[1])

    def buffer(self, bounds: Sequence[tuple[int, int]], free: Tensor | None = None) -> Tensor:
        """Memory for the logits of each of these chunks in turn: what is `free` by then, if it is
        large enough.
        """
        rows = _largest(bounds)
        if free is not None and len(free) >= rows:
            return free
        return self.x.new_empty(rows, self.weight.shape[0])

    def chunks(self) -> Iterator[Chunk]:
        """All chunks with their logits; those of each take the place of the ones before."""
        buffer = self.buffer(self.bounds)
        for start, stop in self.bounds:
            chunk = self.chunk(start, stop, buffer)
            self.project(chunk)
            yield chunk

    def chunk(self, start: int, stop: int, logits: Tensor) -> Chunk:
        """A chunk; what is in the first rows of `logits` stands for its own."""
        places = None if self.rows.places is None else self.rows.places[start:]
        return Chunk(start, self._rows(start, stop), logits[: stop - start], places)

    def project(self, chunk: Chunk) -> None:
        """Fill in its logits."""
        multiply(chunk.logits, chunk.x, self.weight.t(), self.bias)

    def differentiate(self, chunk: Chunk) -> None:
        """Add up what comes of a chunk whose logits are now their gradient; its x may be lost."""
        draw = chunk.logits
        if self._parts is not None:
            n_rows, n_cols = draw.shape
            grid = (cdiv(n_cols, _NARROW), cdiv(n_rows, _SUMMED))
            _add_rows[grid](
                self._parts[self._parted :],
                draw,
                n_rows,
                n_cols,
                BLOCK_ROWS=_SUMMED,
                BLOCK_COLS=_NARROW,
            )
            self._parted += grid[1]
        if self._dweight is not None:
            add_product(self._dweight, draw.t(), chunk.x, begin=not self._begun)
            self._begun = True
        if self._dx is not None and chunk.places is None:
            multiply(self._dx[chunk.start : chunk.start + len(draw)], draw, self.weight)
        elif self._dx is not None:
            multiply(chunk.x, draw, self.weight)
            grid = (chunk.x.shape[0], cdiv(chunk.x.shape[1], _COLUMNS))
            _scatter_rows[grid](self._dx, chunk.x, chunk.places, self._dx.shape[1], BLOCK=_COLUMNS)

    def gradients(self) -> list[Tensor | None]:
        """What was added up, of x, weight and bias; None for what isn't needed."""
        dtype, classes = self.x.dtype, self.weight.shape[:1]
        dweight = None if self._dweight is None else self._dweight.to(dtype)
        dbias = None if self._parts is None else add_parts(self._parts, tuple(classes), dtype)
        return [self._dx, dweight, dbias]

    def _rows(self, start: int, stop: int) -> Tensor:
        """Those rows of x; zeros where no more take part."""
        if self._gathered is None or self.rows.places is None:
            return self.x[start:stop]
        part, n_cols = self._gathered[: stop - start], self.x.shape[1]
        grid = (stop - start, cdiv(n_cols, _COLUMNS))
        _gather_rows[grid](part, self.x, self.rows.places[start:], n_cols, BLOCK=_COLUMNS)
        return part


def _largest(bounds: Sequence[tuple[int, int]]) -> int:
    return max((stop - start for start, stop in bounds), default=0)


def autocast(t: Tensor) -> Tensor:
    """The tensor as autocast wants factors of a product to be."""
    device = t.device.type
    if device in ("cpu", "cuda") and torch.is_autocast_enabled(device):
        return t.to(torch.get_autocast_dtype(device))
    return t


def check_head(op: str, x: Tensor, weight: Tensor, bias: Tensor | None, *, whose: str = "") -> None:
    """Refuse what is no linear head: other dtypes, devices or shapes. The names of x, weight and
    bias begin with `whose`.

    Raises:
        TypeError: a dtype that is not served, or a mix of them.
        ValueError: a shape that doesn't fit, or a tensor that is not on a GPU.
    """
    x_name, weight_name, bias_name = (f"{whose}{name}" for name in ("x", "weight", "bias"))
    check(op, **{x_name: x, weight_name: weight}, **({} if bias is None else {bias_name: bias}))
    check_width(op, x_name, x)
    if weight.dim() != 2 or weight.shape[0] == 0:
        raise ValueError(
            f"{op}: {weight_name} has shape {tuple(weight.shape)}, expected "
            f"(classes, {x.shape[-1]})"
        )
    check_shape(op, weight_name, weight, (weight.shape[0], x.shape[-1]))
    if bias is not None:
        check_shape(op, bias_name, bias, tuple(weight.shape[:1]))


def check_target(op: str, target: Tensor, x: Tensor) -> None:
    """Refuse a target that isn't a class for each row of x.

    Raises:
        TypeError: a dtype other than int64 and int32.
        ValueError: another shape or device.
    """
    if target.dtype not in (torch.int64, torch.int32):
        raise TypeError(f"{op}: target is {target.dtype}; served are int64 and int32")
    if target.device != x.device:
        raise ValueError(f"{op}: target is on {target.device}, x on {x.device}")
    check_shape(op, "target", target, tuple(x.shape[:-1]))


def check_class_weight(op: str, class_weight: Tensor, x: Tensor, classes: int) -> None:
    """Refuse what isn't a number for each class, without a gradient.

    Raises:
        TypeError: a dtype that is not served.
        ValueError: another shape or device, or a gradient is wanted.
    """
    if class_weight.dtype not in SUPPORTED:
        raise TypeError(
            f"{op}: class_weight is {class_weight.dtype}; served are float32, bfloat16 and float16"
        )
    if class_weight.device != x.device:
        raise ValueError(f"{op}: class_weight is on {class_weight.device}, x on {x.device}")
    check_shape(op, "class_weight", class_weight, (classes,))
    if class_weight.requires_grad:
        raise ValueError(f"{op}: class_weight requires a gradient, which it has none of")
