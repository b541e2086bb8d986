"""What the ops on a linear head share: the rows that take part, their chunks, and the products."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench_kernels import linear_head, testing
from workbench_kernels.linear_head import (
    Chunk,
    Head,
    Rows,
    bounds,
    chunk_rows,
    kept_rows,
    rows_within,
)
from workbench_kernels.linear_logprobs.spec import SPEC
from workbench_kernels.linear_logprobs.wrapper import linear_logprobs
from workbench_kernels.products import add_product, multiply, read_count

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize(
    ("rows", "classes", "megabytes", "size"),
    [
        (8192, 128256, 512, 2048),
        (8192, 128256, 256, 1024),
        (4096, 128256, 512, 2048),
        (16384, 151936, 512, 1664),
        (8192, 151936, 256, 768),
        (8192, 32000, 512, 8192),
        (1024, 128256, 512, 1024),
        (8192, 128256, 1, 4),
        (0, 128256, 512, 1),
    ],
)
def test_rows_of_a_chunk(rows: int, classes: int, megabytes: int, size: int) -> None:
    assert chunk_rows(rows, 2 * classes, megabytes << 20) == size


def test_a_chunk_is_a_row_at_least() -> None:
    assert chunk_rows(10, 1000, 1) == 1


@pytest.mark.parametrize(
    ("rows", "megabytes", "size"),
    [(8192, 256, 1024), (8192, 4096, 8192), (1000, 256, 1000), (8192, 16, 64), (8192, 0, 0)],
)
def test_rows_that_fit(rows: int, megabytes: int, size: int) -> None:
    """What is kept is not less than a chunk of as many bytes, so that chunks fit where it was."""
    assert rows_within(rows, 2 * 128256, megabytes << 20) == size
    for classes in (70, 999, 128256, 151936):
        for most in (1 << 10, 1 << 16, 1 << 22, 1 << 28, 3 << 26):
            kept = rows_within(rows, 2 * classes, most)
            assert kept == rows or chunk_rows(rows - kept, 2 * classes, most) <= max(1, kept)


def test_chunks_follow_one_another() -> None:
    assert bounds(3, 10, 4, 12) == [(3, 6), (6, 9), (9, 10)]
    assert bounds(3, 3, 4, 12) == []


@pytest.mark.parametrize("number", [0, 1, 1500])
@pytest.mark.parametrize("dtype", [torch.int64, torch.int32])
def test_rows_that_take_part(number: int, dtype: torch.dtype) -> None:
    device = testing.device()
    target = torch.arange(number, device=device, dtype=dtype) % 3
    kept = [row for row in range(number) if row % 3 != 1]
    rows = kept_rows(target, 1, compact=False)
    assert rows.places is not None
    assert rows.places.tolist() == kept + [-1] * (number - len(kept))
    assert (rows.number, rows.kept.item()) == (number, len(kept))
    assert kept_rows(target, 1, compact=True).number == len(kept)
    known = kept_rows(target, 1, compact=True, number=len(kept))
    assert known.number == len(kept) and (known.places is None) == (len(kept) == number)
    every = kept_rows(target, 7, compact=True)
    assert (every.places, every.number, every.kept.item()) == (None, number, number)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_head_that_is_frozen_has_no_gradients(dtype: torch.dtype) -> None:
    device = testing.device()
    x, weight = (torch.randint(-3, 4, (n, 8)).to(device, dtype) for n in (6, 5))
    rows = Rows(None, 6, torch.tensor(6, device=device))
    head = Head(x, weight, None, rows, bounds(0, 6, 5, 20), [False] * 3)
    whole = [(chunk.start, chunk.logits.clone()) for chunk in head.chunks()]
    assert [start for start, _ in whole] == [0, 3]
    assert torch.equal(torch.cat([part for _, part in whole]), x @ weight.t())
    assert head.gradients() == [None] * 3


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_products(dtype: torch.dtype) -> None:
    device = testing.device()
    a, b = torch.randn(4, 6, device=device).to(dtype), torch.randn(6, 5, device=device).to(dtype)
    bias, out = torch.randn(5, device=device).to(dtype), a.new_full((4, 5), float("nan"))
    multiply(out, a, b)
    assert torch.equal(out, a @ b)
    multiply(out, a, b, bias)
    assert torch.equal(out, torch.addmm(bias, a, b))
    exact = (a.double() @ b.double()).float()
    for sums in (torch.full_like(out, float("nan")), out.float() * float("nan")):
        add_product(sums, a, b, begin=True)
        add_product(sums, a, b, begin=False)
        near = 1e-6 if sums.dtype is torch.float32 else 3e-2
        torch.testing.assert_close(sums.float(), 2 * exact, rtol=near, atol=near)


def test_a_count_is_none_of_rows_that_are_not_there() -> None:
    for told, known in ((3, 3), (-5, 0), (9, 4)):
        assert read_count(torch.tensor(told), 4) == known
    assert read_count(torch.empty((), device="meta"), 4) == 4


def leaves() -> tuple[Tensor, Tensor, Tensor]:
    x, weight, target = testing.draw(SPEC, 20, 70, torch.float32)
    return x.requires_grad_(), weight.requires_grad_(), target


def test_the_backward_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """How many rows take part is known from the forward."""
    x, weight, target = leaves()
    target[1::3] = -100
    y = linear_logprobs(x, weight, target)

    def refuse(count: Tensor, most: int) -> int:
        raise AssertionError("a count was read from the device")

    monkeypatch.setattr(linear_head, "read_count", refuse)
    with pytest.raises(AssertionError, match="a count was read"):
        linear_logprobs(x, weight, target)
    y.sum().backward()


def test_where_logits_were_kept_go_those_of_other_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that to keep as much as a chunk takes no memory beside it."""
    x, weight, target = leaves()
    places = []

    def watched(self: Head, chunk: Chunk) -> None:
        places.append(chunk.logits.data_ptr())
        differentiate(self, chunk)

    differentiate = Head.differentiate
    monkeypatch.setattr(Head, "differentiate", watched)
    y = linear_logprobs(x, weight, target, keep_bytes=7 * 70 * 4, chunk_bytes=7 * 70 * 4)
    y.sum().backward()
    assert len(places) == 3 and len(set(places)) == 1
