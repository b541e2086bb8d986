"""Whether a reference can be the truth a kernel is judged by.

It must run, forward and backward, in float32 and bfloat16; compute new tensors and leave its
arguments alone; give the same result twice; and give it from its own text, which is all that an
op's spec keeps of it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from workbench.errors import BadReference
from workbench.reference import Reference, user_code

DTYPES = (torch.float32, torch.bfloat16)


def check(reference: Reference) -> None:
    """Run the reference, forward and backward, and refuse it unless a kernel can be judged by it.

    Raises:
        BadReference: it doesn't run, returns anything but tensors, changes or returns an argument,
            isn't differentiable or not deterministic, fails in bfloat16, its inputs don't follow
            (rows, cols), or it depends on more of its module than its own text.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        _draw(reference, 4, 8)
        tensors = _draw(reference, 3, 17)
        outputs = _run(reference, tensors)
        _refuse_aliases(reference, tensors, outputs)
        if not _same(outputs, _run(reference, tensors)):
            raise BadReference(
                f"{reference.place} gives another result when called again",
                hint="it must not draw random numbers or keep state; take noise as an argument",
            )
        for dtype in DTYPES:
            _differentiate(reference, tensors, dtype)
        _refuse_state(reference, tensors, outputs)


def _draw(reference: Reference, rows: int, cols: int) -> tuple[Tensor, ...]:
    tensors = reference.inputs(rows, cols)
    if (rows, cols) not in [tuple(tensor.shape) for tensor in tensors]:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise BadReference(
            f"{reference.file}: its inputs({rows}, {cols}) have the shapes {shapes}",
            hint="one of them, at least, must be (rows, cols)",
        )
    return tensors


def _run(reference: Reference, tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """The outputs, as a tuple; the arguments must come out of it as they went in."""
    before = [(tensor.clone(), tensor._version) for tensor in tensors]
    with user_code(reference.file, f"{reference.symbol} doesn't run"):
        result = reference.call(tensors)
    outputs = result if isinstance(result, tuple) else (result,)
    kinds = [type(out).__name__ for out in outputs if not isinstance(out, Tensor)]
    if kinds or not outputs:
        got = f"a {kinds[0]}" if kinds else "nothing"
        raise BadReference(f"{reference.place} returns {got}, not a tensor or a tuple of them")
    for name, tensor, (copy, version) in zip(reference.tensors, tensors, before, strict=True):
        if tensor._version != version or not _same((tensor,), (copy,)):
            raise BadReference(
                f"{reference.place} changes its argument {name} in place",
                hint="write the operation without `_` at its end, `out=` or `inplace=True`",
            )
    return outputs


def _refuse_aliases(
    reference: Reference, tensors: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    for name, tensor in zip(reference.tensors, tensors, strict=True):
        if any(_memory(out) == _memory(tensor) for out in outputs):
            raise BadReference(
                f"{reference.place} returns its argument {name} itself, or a view of it",
                hint="an op computes new tensors; leave out what it only passes on",
            )


def _differentiate(reference: Reference, tensors: Sequence[Tensor], dtype: torch.dtype) -> None:
    name = str(dtype).removeprefix("torch.")
    leaves = [
        t.detach().to(dtype, copy=True).requires_grad_() if t.is_floating_point() else t
        for t in tensors
    ]
    floating = [leaf for leaf in leaves if leaf.requires_grad]
    with user_code(reference.file, f"{reference.symbol} fails in {name}"):
        result = reference.call(leaves)
        outputs = result if isinstance(result, tuple) else (result,)
        wanted = [out for out in outputs if out.requires_grad]
        ones = [torch.ones_like(out) for out in wanted]
        grads = torch.autograd.grad(wanted, floating, ones, allow_unused=True) if wanted else ()
    if all(grad is None for grad in grads):
        raise BadReference(
            f"{reference.place} isn't differentiable: no result depends on a floating argument "
            "through operations that have a gradient",
            hint="look for detach(), no_grad(), a cast to int, or a result that only compares",
        )


def _refuse_state(
    reference: Reference, tensors: Sequence[Tensor], outputs: Sequence[Tensor]
) -> None:
    """The reference rebuilt from its text must compute and draw the same."""
    hint = "a reference stands alone: functions and constants, nothing filled in or patched later"
    try:
        alone = Reference.from_record(reference.to_record())
        torch.manual_seed(0)
        drawn = reference.inputs(3, 17)
        torch.manual_seed(0)
        same = _same(alone.inputs(3, 17), drawn) and _same(_run(alone, tensors), outputs)
    except BadReference as error:
        raise BadReference(f"{reference.place} doesn't run alone: {error}", hint=hint) from error
    if not same:
        raise BadReference(f"{reference.place} computes something else alone", hint=hint)


def _memory(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


def _same(ones: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    """Equal shapes, dtypes and values, NaN equal to NaN."""
    return len(ones) == len(others) and all(
        a.shape == b.shape and a.dtype == b.dtype and bool(((a == b) | ((a != a) & (b != b))).all())
        for a, b in zip(ones, others, strict=True)
    )
