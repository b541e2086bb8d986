"""Where the rows of a norm lie in what it takes: along the last dimension, along the channels of an
image, or along the heads that it joins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn

ROWS, CHANNELS, HEADS = "rows", "channels", "heads"
# The usual first: what takes rows is not tried otherwise if a kernel serves it so.
LAYOUTS = (ROWS, CHANNELS, HEADS)
_BATCH = 3
# So many positions an image has, in one, two and three dimensions.
_POSITIONS = ((4,), (2, 2), (1, 2, 2))
COUNT = _BATCH * 4


def inputs(module: nn.Module, layout: str, rows: Tensor) -> Iterator[Tensor]:
    """COUNT rows as inputs of that layout, of every rank and number of heads that may be."""
    if layout == ROWS:
        yield rows
        yield rows.unflatten(0, (_BATCH, -1))
    elif layout == CHANNELS:
        for positions in _POSITIONS:
            yield rows.unflatten(0, (_BATCH, *positions)).movedim(-1, 1)
    else:
        for heads in parts_of(module, rows.shape[-1]):
            if heads > 1:
                yield rows.unflatten(-1, (heads, -1)).unflatten(0, (_BATCH, -1))


def taken(
    module: nn.Module, forward: Callable[[Tensor], Tensor], layout: str, rows: Tensor
) -> tuple[list[Tensor], str]:
    """Of these inputs the ones that the module's forward, with parameters that are here, has a
    result for, of the right shape; and what is wrong with the first other one. What takes rows
    takes them in every rank, or it takes none: the channels of two dimensions are rows by chance.
    """
    found, wrong = [], ""
    for input in inputs(module, layout, rows):
        expected = input.flatten(-2).shape if layout == HEADS else input.shape
        try:
            with torch.no_grad():
                given = forward(input.clone()).shape
        except Exception as error:  # it is a model's own code
            wrong = wrong or f"of an input {tuple(input.shape)}: {type(error).__name__}: {error}"
            continue
        if given == expected:
            found.append(input)
        else:
            wrong = wrong or f"of an input {tuple(input.shape)} it gives {tuple(given)}"
    return ([] if layout == ROWS and wrong else found), wrong


def parts_of(module: nn.Module, width: int) -> list[int]:
    """Into how many equal parts it may take a row apart, by the whole numbers that it keeps."""
    whole = {n for n in vars(module).values() if type(n) is int and 0 < n <= width}
    divisors = {n for n in range(1, width + 1) if width % n == 0}
    return sorted({1, *whole, *(width // n for n in whole)} & divisors)
