"""Sums of the parts that programs leave: all of them, in a fixed order, however many there are."""

from __future__ import annotations

import pytest
import torch

from workbench_kernels.partials import add_all_parts, add_parts


@pytest.mark.parametrize("n_cols", [1, 5, 16, 100, 2049])
@pytest.mark.parametrize("n_parts", [0, 1, 127, 129, 2048, 2049, 4100])
def test_every_part_is_added_once(n_parts: int, n_cols: int) -> None:
    parts = torch.randint(-8, 9, (n_parts, n_cols)).float()  # whose sums are exact
    assert torch.equal(add_parts(parts, (n_cols,), torch.float32), parts.sum(0))


def test_tensors_of_other_sizes_are_added_in_the_same_launch() -> None:
    parts = [torch.randint(-8, 9, size).float() for size in ((2100, 1), (7, 130), (40, 33))]
    sums = add_all_parts(parts, [(), (13, 10), (33,)], torch.bfloat16)
    for part, total, shape in zip(parts, sums, [(), (13, 10), (33,)], strict=True):
        assert torch.equal(total, part.sum(0).reshape(shape).bfloat16())
