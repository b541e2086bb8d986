"""rope against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.rope.spec import SPEC, rope_of_any_table
from workbench_kernels.rope.wrapper import Rope, rope

PAIRINGS = ("half", "interleaved", "interleaved_to_half")
BATCH, LENGTH, WIDTH = 2, 5, 16


def _as_in_models(
    table: tuple[int, ...] = (BATCH, LENGTH, WIDTH),
    dtype: torch.dtype = torch.float32,
    lead: tuple[int, ...] = (BATCH,),
) -> list[Tensor]:
    """q and k as (batch, heads, tokens, features), views of memory with the heads of a token
    together; cos and sin of the shape `table`.
    """
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(*lead, LENGTH, n, WIDTH, generator=generator) for n in (7, 3))
    angles = 6.3 * torch.rand(table, generator=generator)
    q, k, cos, sin = (t.to(testing.device(), dtype) for t in (q, k, angles.cos(), angles.sin()))
    return [q.transpose(-2, -3), k.transpose(-2, -3), cos, sin]


def _check(inputs: list[Tensor], **options: Any) -> None:
    spec = replace(SPEC, reference=rope_of_any_table)
    testing.check(spec, rope, inputs, parameters=options)


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, rope, case)


@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
@pytest.mark.parametrize("pairing", ["half", "interleaved"])
def test_takes_one_value_per_pair(pairing: str, dtype: torch.dtype) -> None:
    _check([*testing.draw(SPEC, 19, 8, dtype)], pairing=pairing, per_pair=True)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_rotates_a_whole_head_of_any_width(pairing: str) -> None:
    _check([*testing.draw(SPEC, 3, 36, torch.float32)], pairing=pairing)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, rope, layout)


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize(
    "table", [(5, 16), (1, 5, 16), (2, 5, 16), (2, 1, 16), (1, 16), (5, 6)], ids=str
)
def test_takes_heads_where_models_have_them(table: tuple[int, ...], pairing: str) -> None:
    _check(_as_in_models(table), heads_dim=1, pairing=pairing)
    q, k, cos, sin = _as_in_models(table, torch.bfloat16)
    _check([q.contiguous(), k, cos, sin], heads_dim=-3, pairing=pairing)


@pytest.mark.parametrize("per_pair", [False, True])
@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("sections", [(3, 1, 4), (2, 1, 4, 1), (0, 8), (8,)], ids=str)
def test_takes_each_section_from_its_axis(
    sections: tuple[int, ...], pairing: str, per_pair: bool
) -> None:
    inputs = _as_in_models((len(sections), BATCH, LENGTH, WIDTH // (1 + per_pair)))
    _check(inputs, heads_dim=1, pairing=pairing, per_pair=per_pair, sections=sections)


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_takes_tables_in_float32(dtype: torch.dtype, pairing: str) -> None:
    q, k, cos, sin = _as_in_models()
    _check([q.to(dtype), k.to(dtype), cos, sin], heads_dim=1, pairing=pairing)


@pytest.mark.parametrize("lead", [(), (3, 2), (2, 1, 2)], ids=str)
def test_takes_any_leading_dimensions(lead: tuple[int, ...]) -> None:
    _check(_as_in_models((*lead, LENGTH, WIDTH), lead=lead), heads_dim=-3)
    _check(_as_in_models((LENGTH, WIDTH), lead=lead), heads_dim=-3)


def test_takes_a_single_token() -> None:
    q, k, cos, sin = _as_in_models((WIDTH,), lead=())
    _check([q[:, 0], k[:, 0], cos, sin])


@pytest.mark.parametrize("heads", [1, 2, 5, 9])
def test_takes_any_number_of_heads(heads: int) -> None:
    q, k, cos, sin = _as_in_models()
    _check([torch.cat([q, q], 1)[:, :heads], k[:, :1], cos, sin], heads_dim=1)
    _check([k[:, :1], torch.cat([q, q], 1)[:, :heads], cos, sin], heads_dim=1)


@pytest.mark.parametrize("empty", ["heads", "tokens"])
def test_takes_nothing(empty: str) -> None:
    dim = 1 if empty == "heads" else 2
    q, k, cos, sin = _as_in_models((1, 1, WIDTH))
    _check([q, k.narrow(1, 0, 0), cos, sin], heads_dim=1)
    yq, yk = rope(q.narrow(dim, 0, 0), k.narrow(dim, 0, 0), cos, sin, heads_dim=1)
    assert yq.numel() == yk.numel() == 0


def test_a_single_tensor_is_one_of_two() -> None:
    q, k, cos, sin = _as_in_models()
    q.requires_grad_()
    alone, beside = rope(q, None, cos, sin, heads_dim=1), rope(q, k, cos, sin, heads_dim=1)[0]
    grads = [torch.autograd.grad(y, q, k.new_ones(y.shape))[0] for y in (alone, beside)]
    torch.testing.assert_close(alone, beside, rtol=0, atol=0)
    torch.testing.assert_close(*grads, rtol=0, atol=0)


@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("heads_dim", [1, 2])
def test_results_lie_as_what_they_came_from(heads_dim: int, transposed: bool) -> None:
    q, k, cos, sin = _as_in_models()
    if heads_dim == 2:
        q, k = q.transpose(1, 2), k.transpose(1, 2)
    if transposed == (heads_dim == 2):
        q, k = (x.transpose(1, 2).contiguous().transpose(1, 2) for x in (q, k))
    for leaf in (q, k):
        leaf.requires_grad_()
    ys = rope(q, k, cos, sin, heads_dim=heads_dim)
    upstream = [torch.ones_like(y).contiguous() for y in ys]
    grads = torch.autograd.grad(ys, (q, k), upstream)
    for x, y, grad in zip((q, k), ys, grads, strict=True):
        assert x.stride() == y.stride() == grad.stride()


def test_module_is_the_function() -> None:
    inputs = _as_in_models((3, BATCH, LENGTH, 8))
    options: dict[str, Any] = {"pairing": "interleaved", "per_pair": True, "sections": (3, 1, 4)}
    given, wanted = Rope(**options, heads_dim=1)(*inputs), rope(*inputs, **options, heads_dim=1)
    torch.testing.assert_close(given, wanted, rtol=0, atol=0)


def test_takes_parts_of_a_projection_as_they_lie() -> None:
    projected = torch.randn(BATCH, LENGTH, 12, WIDTH, device=testing.device())
    q, k, _ = (part.transpose(1, 2) for part in projected.split([7, 3, 2], 2))
    _check([q, k, *_as_in_models()[2:]], heads_dim=1)


@pytest.mark.parametrize("needs", ["q", "k"])
def test_gives_only_the_gradient_that_is_wanted(needs: str) -> None:
    q, k, cos, sin = _as_in_models()
    leaf = (q if needs == "q" else k).requires_grad_()
    yq, yk = rope(q, k, cos, sin, heads_dim=1)
    assert (yq.requires_grad, yk.requires_grad) == (True, True)
    (alone,) = torch.autograd.grad(yq if needs == "q" else yk, leaf, torch.ones_like(leaf))
    reference = SPEC.reference(q, k, cos, sin, heads_dim=1)[needs == "k"]
    (expected,) = torch.autograd.grad(reference, leaf, torch.ones_like(leaf))
    torch.testing.assert_close(alone, expected)
    (none,) = torch.autograd.grad(
        yk if needs == "q" else yq, leaf, torch.ones_like(yk if needs == "q" else yq),
        allow_unused=True,
    )  # fmt: skip
    assert none is None


def test_changes_nothing_of_its_caller() -> None:
    inputs = _as_in_models()
    before = [t.clone() for t in inputs]
    rope(*inputs, heads_dim=1)
    for t, was in zip(inputs, before, strict=True):
        torch.testing.assert_close(t, was, rtol=0, atol=0)


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, rope)


@pytest.mark.parametrize("contiguous", [False, True])
def test_is_a_torch_op_as_models_call_it(contiguous: bool) -> None:
    def call(cos_rows: int) -> None:
        q, k, cos, sin = _as_in_models((1, LENGTH, cos_rows))
        if contiguous:
            q, k = q.contiguous(), k.contiguous()
        ys = rope(q.requires_grad_(), k.requires_grad_(), cos, sin, "interleaved", heads_dim=1)
        torch.autograd.grad(ys, (q, k), [torch.ones_like(y).contiguous() for y in ys])

    testing.check_ops("rope", partial(call, 6))


def test_compiles_for_one_tensor() -> None:
    q, _, cos, sin = _as_in_models()
    call = partial(rope, k=None, cos=cos, sin=sin, heads_dim=1)
    torch._dynamo.reset()
    compiled: Callable[[Tensor], Tensor] = torch.compile(call, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(q), call(q), rtol=0, atol=0)


def test_refuses_float64() -> None:
    with pytest.raises(TypeError, match=r"rope: q is torch\.float64"):
        rope(*testing.draw(SPEC, 2, 8, torch.float64))


def test_refuses_mixed_dtypes() -> None:
    q, k, cos, sin = testing.draw(SPEC, 2, 8, torch.float32)
    with pytest.raises(TypeError, match=r"k is torch\.bfloat16 but"):
        rope(q, k.bfloat16(), cos, sin)
    with pytest.raises(TypeError, match=r"sin is torch\.bfloat16 but"):
        rope(q, k, cos, sin.bfloat16())
    with pytest.raises(TypeError, match=r"cos is torch\.bfloat16; it must be float32, or"):
        rope(q, k, cos.bfloat16(), sin.bfloat16())
    with pytest.raises(TypeError, match=r"q is torch\.float64"):
        rope(q.double(), None, cos, sin)


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, rope)


@pytest.mark.parametrize("which", ["cos", "sin"])
def test_refuses_tables_that_want_a_gradient(which: str) -> None:
    q, k, cos, sin = testing.draw(SPEC, 2, 8, torch.float32)
    (cos if which == "cos" else sin).requires_grad_()
    with pytest.raises(ValueError, match="cos and sin have no gradient"):
        rope(q, k, cos, sin)
    with torch.no_grad():
        rope(q, k, cos, sin)


@pytest.mark.parametrize(
    ("table", "options", "message"),
    [
        ((2, 5, 15), {}, "15 of 16 features"),
        ((2, 5, 18), {}, "18 of 16 features"),
        ((2, 5, 0), {}, "0 of 16 features"),
        ((2, 5, 16), {"per_pair": True}, "32 of 16 features"),
        ((), {}, "no dimension"),
        ((2, 5, 16), {"pairing": "both"}, "there are half, interleaved"),
        ((2, 5, 16), {"heads_dim": 3}, "its heads can't be 3"),
        ((2, 5, 16), {"heads_dim": -1}, "its heads can't be -1"),
        ((2, 5, 16), {"heads_dim": 4}, "its heads can't be 4"),
        ((2, 5, 16), {"heads_dim": -5}, "its heads can't be -5"),
        ((2, 5, 16), {"heads_dim": 2}, "is heads_dim 2"),
        ((3, 5, 16), {}, "can't be broadcast to the tokens"),
        ((1, 2, 5, 16), {}, "can't be broadcast to the tokens"),
        ((3, 2, 5, 16), {"sections": (3, 5)}, "don't fit cos of shape"),
        ((2, 2, 5, 16), {"sections": (3, 4)}, "don't fit cos of shape"),
        ((2, 2, 5, 16), {"sections": (-1, 9)}, "don't fit cos of shape"),
        ((2, 4, 5, 16), {"sections": (3, 5)}, "can't be broadcast to the tokens"),
    ],
)
def test_refuses_what_does_not_fit(
    table: tuple[int, ...], options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        rope(*_as_in_models(table), **{"heads_dim": 1, **options})


def test_refuses_heads_that_do_not_fit() -> None:
    q, k, cos, sin = _as_in_models()
    for other in (k[..., :8], k[:, :, :3], k[:1]):
        with pytest.raises(ValueError, match="k has shape"):
            rope(q, other, cos, sin, heads_dim=1)
    with pytest.raises(ValueError, match="k has 3 dimensions, expected 4"):
        rope(q, k[0], cos, sin, heads_dim=1)
    with pytest.raises(ValueError, match="its heads can't be -2"):
        rope(q[0, 0, 0], None, cos[0, 0], sin[0, 0])
    with pytest.raises(ValueError, match="sin has shape"):
        rope(q, k, cos, sin[:1], heads_dim=1)
