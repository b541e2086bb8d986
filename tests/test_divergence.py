"""What the losses between two distributions share on the host: how rows are read where they lie."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench_kernels.divergence import as_rows, lanes
from workbench_kernels.launch import Tile

LOGITS = torch.arange(2 * 3 * 5 * 7.0).view(2, 3, 5, 7)
VIEWS: dict[str, Tensor] = {
    "a row": LOGITS[0, 0, 0],
    "rows": LOGITS[0, 0],
    "every other row": LOGITS[0, 0, ::2],
    "a part of each sequence": LOGITS[0, :, 1:-1],
    "a part of each row": LOGITS[0, ..., 2:],
    "sequences first": LOGITS[0].transpose(0, 1),
    "copies": LOGITS[0, :1, :1].expand(3, 5, 7),
    "batches of batches": LOGITS,
}


@pytest.mark.parametrize("name", VIEWS)
def test_rows_are_read_where_they_lie(name: str) -> None:
    x = VIEWS[name]
    rows = as_rows(x)
    assert rows.data_ptr() == x.data_ptr()
    assert torch.equal(rows.reshape(-1, rows.shape[-1]), x.reshape(-1, x.shape[-1]))
    assert rows.ndim == 3 and rows.stride(2) == 1


def test_what_is_not_dense_is_copied() -> None:
    x = LOGITS[0, 0].mT
    assert as_rows(x).is_contiguous() and torch.equal(as_rows(x)[0], x)


@pytest.mark.parametrize("warps", [1, 4, 32])
@pytest.mark.parametrize("shape", [(1, 8192), (1, 1024), (4, 256), (64, 8)])
def test_each_column_of_a_step_is_a_threads(shape: tuple[int, int], warps: int) -> None:
    tile = Tile(*shape, warps)
    aligned, odd = torch.empty(4, 32), torch.empty(4, 33)
    for rows, widest in (((aligned, aligned), 8), ((aligned, odd), 1), ((odd, aligned), 1)):
        depth, across, wide = lanes(tile, *rows)
        assert depth * across * wide == tile.block_cols
        assert across * tile.block_rows <= 32 * warps or across == 1
        assert wide == min(widest, tile.block_cols)


@pytest.mark.parametrize(
    ("rows", "wide"),
    [
        (torch.empty(3, 5, 64)[:, 1:-1], 8),
        (torch.empty(3, 5, 64)[..., 1:], 1),  # they begin two bytes late
        (torch.empty(3, 5, 72), 1),  # of 8, which Triton does not look for
    ],
)
def test_rows_are_read_16_bytes_at_once_where_they_can_be(rows: Tensor, wide: int) -> None:
    rows = rows.to(torch.bfloat16) if rows.is_contiguous() else rows
    assert lanes(Tile(1, 1024, 4), rows, rows)[2] == wide
