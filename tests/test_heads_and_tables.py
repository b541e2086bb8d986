"""Where heads and tables lie, in plain numbers: the same elements as PyTorch's views have."""

from __future__ import annotations

import math
from typing import Any

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from workbench_kernels.rotary import heads_of, tables_of

SIZES = st.sampled_from([2, 3, 1])


@st.composite
def laid_out(draw: Any, sizes: tuple[int, ...]) -> Tensor:
    """A tensor of those sizes, of other numbers each, its dimensions in any order, with gaps."""
    order = draw(st.permutations(range(len(sizes))))
    room = [sizes[dim] + draw(st.sampled_from([0, 0, 0, 1])) for dim in order]
    memory = torch.arange(math.prod(room), dtype=torch.float32).reshape(room)
    for place, dim in enumerate(order):
        memory = memory.narrow(place, 0, sizes[dim])
    return memory.permute([order.index(dim) for dim in range(len(sizes))])


@st.composite
def heads(draw: Any) -> tuple[Tensor, int]:
    sizes = (*draw(st.integers(1, 4).flatmap(lambda n: st.tuples(*[SIZES] * n))), 4)
    x = draw(laid_out(sizes))
    heads_dim = draw(st.integers(0, x.ndim - 2))
    return x, heads_dim - draw(st.sampled_from([0, x.ndim]))


@settings(max_examples=400)
@given(heads())
def test_heads_are_where_they_are_said_to_be(given: tuple[Tensor, int]) -> None:
    x, heads_dim = given
    memory, lie = heads_of(x, heads_dim)
    batches, tokens, count, width, strides = lie
    seen = memory.as_strided((batches, tokens, count, width), (*strides, 1))
    apart = x.movedim(heads_dim, -2)
    tokens_of_x = apart.shape[-3] if x.ndim > 2 else 1
    assert torch.equal(seen, apart.reshape(-1, tokens_of_x, count, width))


@settings(max_examples=400)
@given(heads(), st.data())
def test_tables_are_seen_from_the_tokens(given: tuple[Tensor, int], data: st.DataObject) -> None:
    x, heads_dim = given
    tokens = [size for dim, size in enumerate(x.shape[:-1]) if dim != heads_dim % x.ndim]
    own = tokens[data.draw(st.integers(0, len(tokens))) :]
    own = [data.draw(st.sampled_from([1, size])) for size in own]
    sections = data.draw(st.sampled_from([[], [1, 1], [1, 1, 0]]))
    sizes = (*([len(sections)] if sections else []), *own, 4)
    tables = [data.draw(laid_out(sizes)) for _ in range(2)]
    cos, sin, strides = tables_of(tables[0], tables[1], x, heads_dim, sections)
    axes, batches = len(sections) or 1, math.prod(tokens[:-1])
    for table, memory in zip(tables, (cos, sin), strict=True):
        sizes_seen = (axes, batches, tokens[-1] if tokens else 1, 4)
        seen = memory.as_strided(sizes_seen, strides)
        whole = table if sections else table.unsqueeze(0)
        missing = [1] * (len(tokens) - len(own))
        whole = whole.reshape(axes, *missing, *own, 4).expand(axes, *tokens, 4)
        assert torch.equal(seen, whole.reshape(sizes_seen))
