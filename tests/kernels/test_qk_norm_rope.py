"""qk_norm_rope against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.qk_norm_rope.spec import SPEC, qk_norm_rope_of_any_table
from workbench_kernels.qk_norm_rope.wrapper import QkNormRope, qk_norm_rope

PAIRINGS = ("half", "interleaved", "interleaved_to_half")
BATCH, LENGTH, WIDTH = 2, 5, 16


def _as_in_models(
    table: tuple[int, ...] = (BATCH, LENGTH, WIDTH),
    dtype: torch.dtype = torch.float32,
    lead: tuple[int, ...] = (BATCH,),
) -> list[Tensor]:
    """q and k as (batch, heads, tokens, features), views of memory with the heads of a token
    together; their weights; cos and sin of the shape `table`.
    """
    generator = torch.Generator().manual_seed(0)
    q, k = (torch.randn(*lead, LENGTH, n, WIDTH, generator=generator) for n in (7, 3))
    weights = 0.5 + torch.rand(2, WIDTH, generator=generator)
    angles = 6.3 * torch.rand(table, generator=generator)
    drawn = (q, k, *weights, angles.cos(), angles.sin())
    q, k, *others = (t.to(testing.device(), dtype) for t in drawn)
    return [q.transpose(-2, -3), k.transpose(-2, -3), *others]


def _check(inputs: list[Tensor], **options: Any) -> None:
    spec = replace(SPEC, reference=qk_norm_rope_of_any_table)
    testing.check(spec, qk_norm_rope, inputs, parameters=options)


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, qk_norm_rope, case)


@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
@pytest.mark.parametrize("pairing", ["half", "interleaved"])
def test_takes_one_value_per_pair(pairing: str, dtype: torch.dtype) -> None:
    _check([*testing.draw(SPEC, 19, 8, dtype)], pairing=pairing, per_pair=True)


@pytest.mark.parametrize("pairing", PAIRINGS)
def test_rotates_a_whole_head_of_any_width(pairing: str) -> None:
    _check([*testing.draw(SPEC, 3, 36, torch.float32)], pairing=pairing)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, qk_norm_rope, layout)


@pytest.mark.parametrize("eps", [0.0, 1e-6, 0.5])
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_takes_weights_less_an_offset(offset: float, eps: float) -> None:
    _check(_as_in_models(), heads_dim=1, offset=offset, eps=eps)
    _check(_as_in_models((5, 6), torch.bfloat16), heads_dim=1, offset=offset, eps=eps)


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("table", [(5, 16), (1, 5, 16), (2, 1, 16), (5, 6)], ids=str)
def test_takes_heads_where_models_have_them(table: tuple[int, ...], pairing: str) -> None:
    _check(_as_in_models(table), heads_dim=1, pairing=pairing)
    q, *others = _as_in_models(table, torch.bfloat16)
    _check([q.contiguous(), *others], heads_dim=-3, pairing=pairing)


@pytest.mark.parametrize("per_pair", [False, True])
@pytest.mark.parametrize("pairing", PAIRINGS)
def test_takes_each_section_from_its_axis(pairing: str, per_pair: bool) -> None:
    inputs = _as_in_models((3, BATCH, LENGTH, WIDTH // (1 + per_pair)))
    _check(inputs, heads_dim=1, pairing=pairing, per_pair=per_pair, sections=(3, 1, 4))


@pytest.mark.parametrize("pairing", PAIRINGS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_takes_tables_in_float32(dtype: torch.dtype, pairing: str) -> None:
    *others, cos, sin = _as_in_models()
    _check([*(t.to(dtype) for t in others), cos, sin], heads_dim=1, pairing=pairing)


@pytest.mark.parametrize("lead", [(), (2, 1, 2)], ids=str)
def test_takes_any_leading_dimensions(lead: tuple[int, ...]) -> None:
    _check(_as_in_models((*lead, LENGTH, WIDTH), lead=lead), heads_dim=-3)


@pytest.mark.parametrize("heads", [1, 2, 5])
def test_takes_any_number_of_heads(heads: int) -> None:
    q, k, *others = _as_in_models()
    _check([q[:, :heads], k[:, :1], *others], heads_dim=1)
    _check([k[:, :1], q[:, :heads], *others], heads_dim=1)


@pytest.mark.parametrize("empty", [1, 2], ids=["heads", "tokens"])
def test_takes_nothing(empty: int) -> None:
    q, k, *others = _as_in_models((1, 1, WIDTH))
    _check([q, k.narrow(1, 0, 0), *others], heads_dim=1)
    leaves = [t.requires_grad_() for t in (q.narrow(empty, 0, 0), k.narrow(empty, 0, 0))]
    weights = [t.requires_grad_() for t in others[:2]]
    ys = qk_norm_rope(*leaves, *weights, *others[2:], heads_dim=1)
    upstream = [torch.ones_like(y) for y in ys]
    *dx, dq_weight, dk_weight = torch.autograd.grad(ys, [*leaves, *weights], upstream)
    assert [t.shape for t in dx] == [t.shape for t in leaves]
    assert not dq_weight.any()
    assert not dk_weight.any()


@pytest.mark.parametrize("transposed", [False, True])
def test_results_lie_as_what_they_came_from(transposed: bool) -> None:
    q, k, *others = _as_in_models()
    if not transposed:
        q, k = q.contiguous(), k.contiguous()
    leaves = [q.requires_grad_(), k.requires_grad_()]
    ys = qk_norm_rope(q, k, *others, heads_dim=1)
    grads = torch.autograd.grad(ys, leaves, [torch.ones_like(y).contiguous() for y in ys])
    for x, y, grad in zip(leaves, ys, grads, strict=True):
        assert x.stride() == y.stride() == grad.stride()


NAMES = SPEC.differentiable
SUBSETS = [names for size in (1, 2, 3) for names in combinations(NAMES, size)]


@pytest.mark.parametrize("wanted", SUBSETS, ids=str)
def test_gives_only_the_gradients_that_are_wanted(wanted: tuple[str, ...]) -> None:
    inputs = _as_in_models()
    leaves = [t for name, t in zip(NAMES, inputs, strict=False) if name in wanted]
    for leaf in leaves:
        leaf.requires_grad_()
    ys = qk_norm_rope(*inputs, heads_dim=1)
    expected = SPEC.reference(*inputs, heads_dim=1)
    for outputs in ([0], [1], [0, 1]):
        sent = [torch.ones_like(ys[i]) for i in outputs]
        given = [
            torch.autograd.grad([y[i] for i in outputs], leaves, sent, True, allow_unused=True)
            for y in (ys, expected)
            if all(y[i].requires_grad for i in outputs)
        ]
        for ours, theirs in zip(*given, strict=True) if len(given) == 2 else ():
            torch.testing.assert_close(ours, theirs)


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, qk_norm_rope)


@pytest.mark.parametrize("contiguous", [False, True])
def test_is_a_torch_op_as_models_call_it(contiguous: bool) -> None:
    def call() -> None:
        q, k, *others = _as_in_models((1, LENGTH, 6))
        if contiguous:
            q, k = q.contiguous(), k.contiguous()
        for leaf in (q, k, others[0]):
            leaf.requires_grad_()
        ys = qk_norm_rope(q, k, *others, pairing="interleaved", heads_dim=1)
        upstream = [torch.ones_like(y).contiguous() for y in ys]
        torch.autograd.grad(ys, (q, k, others[0]), upstream)

    testing.check_ops("qk_norm_rope", call)


def test_module_is_the_function() -> None:
    q, k, q_weight, k_weight, cos, sin = _as_in_models((3, BATCH, LENGTH, 8))
    options: dict[str, Any] = {
        "pairing": "interleaved", "per_pair": True, "sections": (3, 1, 4), "heads_dim": 1,
        "eps": 0.5, "offset": 1.0,
    }  # fmt: skip
    module = QkNormRope(WIDTH, **options).to(q.device)
    assert not module.q_weight.any()
    assert not module.k_weight.any()
    module.load_state_dict({"q_weight": q_weight, "k_weight": k_weight})
    wanted = qk_norm_rope(q, k, q_weight, k_weight, cos, sin, **options)
    torch.testing.assert_close(module(q, k, cos, sin), wanted, rtol=0, atol=0)
    torch.testing.assert_close(QkNormRope(WIDTH).q_weight, torch.ones(WIDTH))


def test_refuses_float64() -> None:
    with pytest.raises(TypeError, match=r"qk_norm_rope: q is torch\.float64"):
        qk_norm_rope(*testing.draw(SPEC, 2, 8, torch.float64))


@pytest.mark.parametrize("index", range(1, 6))
def test_refuses_mixed_dtypes(index: int) -> None:
    inputs = [*testing.draw(SPEC, 2, 8, torch.float32)]
    inputs[index] = inputs[index].bfloat16()
    with pytest.raises(TypeError, match=r"is torch\.(bfloat16|float32) but"):
        qk_norm_rope(*inputs)


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, qk_norm_rope)


@pytest.mark.parametrize("index", [4, 5])
def test_refuses_tables_that_want_a_gradient(index: int) -> None:
    inputs = testing.draw(SPEC, 2, 8, torch.float32)
    inputs[index].requires_grad_()
    with pytest.raises(ValueError, match="cos and sin have no gradient"):
        qk_norm_rope(*inputs)


@pytest.mark.parametrize(
    ("index", "change", "message"),
    [
        (1, partial(torch.narrow, dim=3, start=0, length=8), "k has shape"),
        (1, partial(torch.narrow, dim=2, start=0, length=4), "k has shape"),
        (1, partial(torch.select, dim=0, index=0), "k has 3 dimensions"),
        (2, partial(torch.narrow, dim=0, start=0, length=8), "q_weight has shape"),
        (3, partial(torch.narrow, dim=0, start=0, length=8), "k_weight has shape"),
        (4, partial(torch.narrow, dim=0, start=0, length=1), "sin has shape"),
    ],
)
def test_refuses_what_does_not_fit(index: int, change: Any, message: str) -> None:
    inputs = _as_in_models()
    inputs[index] = change(inputs[index])
    with pytest.raises(ValueError, match=message):
        qk_norm_rope(*inputs, heads_dim=1)


def test_refuses_an_unknown_pairing() -> None:
    with pytest.raises(ValueError, match="there are half, interleaved"):
        qk_norm_rope(*_as_in_models(), pairing="both", heads_dim=1)
