"""What the losses between two distributions share on the host: how rows are read where they lie."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench_kernels.divergence import as_rows

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
