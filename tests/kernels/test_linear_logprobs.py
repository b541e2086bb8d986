"""linear_logprobs against its reference in float64, as near to it as PyTorch is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.bound import compare
from workbench_kernels.linear_logprobs.spec import SPEC, VARIANTS, biased_linear_logprobs
from workbench_kernels.linear_logprobs.wrapper import LinearLogprobs, linear_logprobs
from workbench_kernels.spec import OpSpec
from workbench_kernels.truth import expect

ROWS, COLS = 20, 70
NAN = float("nan")
ALL = 1 << 30
ENTROPY: dict[str, Any] = {"return_entropy": True}


def whole_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return *SPEC.inputs(rows, cols), torch.randn(cols)


# With a bias.
WHOLE = replace(
    SPEC,
    reference=biased_linear_logprobs,
    tensors=("x", "weight", "target", "bias"),
    differentiable=("x", "weight", "bias"),
    inputs=whole_inputs,
)


def draw(
    dtype: torch.dtype = torch.float32, *, of: OpSpec = SPEC, rows: int = ROWS, cols: int = COLS
) -> list[Tensor]:
    return [*testing.draw(of, rows, cols, dtype)]


def leaves(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    x, weight, target = draw(dtype)
    return x.requires_grad_(), weight.requires_grad_(), target


def several(count: int, dtype: torch.dtype = torch.float32) -> int:
    """The bytes of so many rows of logits."""
    return count * COLS * dtype.itemsize


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, linear_logprobs, case)


@pytest.mark.parametrize("name", VARIANTS)
def test_every_option_where_logits_are_kept(name: str) -> None:
    for dtype, keep in ((torch.float32, several(7)), (torch.bfloat16, ALL)):
        function = partial(linear_logprobs, keep_bytes=keep, chunk_bytes=several(5, dtype))
        testing.check(WHOLE, function, draw(dtype, of=WHOLE), parameters=VARIANTS[name])


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("keep", [0, several(7), ALL])
def test_chunks_and_ignored_rows(keep: int, compact: bool) -> None:
    inputs = draw(of=WHOLE)
    rows = torch.arange(ROWS, device=inputs[2].device)
    for ignored in (rows < 0, rows % 2 == 0, rows >= 0):
        options = {"keep_bytes": keep, "chunk_bytes": several(3), "compact": compact}
        inputs[2] = torch.where(ignored, -100, rows * 7 % COLS)
        function = partial(linear_logprobs, **options)
        testing.check(WHOLE, function, inputs, parameters=ENTROPY)


@pytest.mark.parametrize("keep", [0, ALL])
@pytest.mark.parametrize("needs", [("x",), ("weight",), ("bias",)], ids="+".join)
def test_only_what_requires_a_gradient(needs: tuple[str, ...], keep: int) -> None:
    spec = replace(WHOLE, differentiable=needs)
    function = partial(linear_logprobs, keep_bytes=keep)
    testing.check(spec, function, draw(of=spec), parameters=ENTROPY)


@pytest.mark.parametrize("output", [0, 1])
def test_one_output_is_sent_a_gradient(output: int) -> None:
    """The other has none, as where only the entropy is trained."""

    def one(function: Any) -> Any:
        return lambda x, weight, target: function(x, weight, target, **ENTROPY)[output]

    testing.check(replace(SPEC, reference=one(SPEC.reference)), one(linear_logprobs), draw())


def test_a_wide_row_is_read_in_steps() -> None:
    inputs = draw(rows=2, cols=8300)
    testing.check(SPEC, linear_logprobs, inputs, parameters=VARIANTS["policy"])


def _of_ties(cols: int) -> tuple[Tensor, Tensor, Tensor]:
    """Rows whose logits are a few small whole numbers, so that several are the greatest."""
    chance = torch.Generator().manual_seed(0)
    x = torch.eye(ROWS)
    weight = torch.randint(-2, 3, (cols, ROWS), generator=chance).float()
    target = (x @ weight.t()).argmax(dim=1)
    target[::2] = (x @ weight.t())[::2].flip(1).argmax(dim=1).sub(cols - 1).neg()  # the last
    target[1] = (target[1] + 1) % cols
    return x.to(testing.device()), weight.to(testing.device()), target.to(testing.device())


@pytest.mark.parametrize("options", [{}, {"softcap": 1.5}, {"temperature": 0.7}], ids=str)
@pytest.mark.parametrize("cols", [COLS, 8300])
def test_the_most_likely_class_is_the_first_of_several(cols: int, options: dict[str, Any]) -> None:
    x, weight, target = _of_ties(cols)
    expected = (x @ weight.t()).argmax(dim=1) == target
    y, top = linear_logprobs(x, weight, target, return_top1=True, **options)
    assert torch.equal(top, expected) and expected.any() and not expected.all()
    y_too, _, top_too = linear_logprobs(x, weight, target, return_top1=True, **options, **ENTROPY)
    assert torch.equal(y, y_too) and torch.equal(top, top_too)


@pytest.mark.parametrize("compact", [True, False])
def test_what_is_no_class_is_not_the_most_likely(compact: bool) -> None:
    x, weight, target = _of_ties(COLS)
    best = (x @ weight.t()).argmax(dim=1)
    best[3], best[4] = -100, COLS
    x.requires_grad_()
    y, top = linear_logprobs(x, weight, best, return_top1=True, compact=compact, chunk_bytes=600)
    assert top.shape == target.shape and top.tolist().count(False) == 2
    assert not top[3] and not top[4]
    assert not top.requires_grad and y.requires_grad


@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
def test_a_retained_graph_gives_gradients_again(dtype: torch.dtype) -> None:
    """The first time of the logits that are kept, then of the same computed again."""
    inputs = draw(dtype)
    expected = expect(SPEC, inputs, parameters=ENTROPY)
    x, weight, target = inputs[0].requires_grad_(), inputs[1].requires_grad_(), inputs[2]
    outputs = linear_logprobs(x, weight, target, keep_bytes=several(12, dtype), **ENTROPY)
    values = {name: y.detach() for name, y in zip(("y0", "y1"), outputs, strict=True)}
    for _ in range(2):
        sent = [dy for dy in expected.upstream if dy is not None]
        grads = torch.autograd.grad(outputs, (x, weight), sent, retain_graph=True)
        got = values | dict(zip(("dx", "dweight"), grads, strict=True))
        assert not [c.message for c in compare(got, expected) if c.message]


def test_gradients_are_the_same_whatever_is_kept() -> None:
    x, weight, target = leaves()
    grads = [
        torch.autograd.grad(linear_logprobs(x, weight, target, keep_bytes=keep).sum(), (x, weight))
        for keep in (0, ALL)
    ]
    for ours, theirs in zip(*grads, strict=True):
        assert torch.equal(ours, theirs)


def test_sums_in_float32_lose_less_over_many_chunks() -> None:
    x, weight, target = leaves(torch.bfloat16)
    exact = [t.detach().double().requires_grad_() for t in (x, weight)]
    truth = torch.autograd.grad(SPEC.reference(*exact, target).sum(), exact[1])[0]
    errors = []
    for wide in (False, True):
        options = {"chunk_bytes": several(1, torch.bfloat16), "keep_bytes": 0}
        options["float32_sums"] = wide
        y = linear_logprobs(x, weight, target, **options)
        errors.append((torch.autograd.grad(y.sum(), weight)[0].double() - truth).norm())
    assert errors[1] < 0.8 * errors[0]


@pytest.mark.parametrize("compact", [True, False])
def test_ignored_rows_may_hold_anything(compact: bool) -> None:
    x, weight, target = draw()
    target[1::3] = -100
    clean = linear_logprobs(x, weight, target, compact=compact)
    assert not clean[1::3].any()
    x[target == -100] = NAN
    x.requires_grad_()
    weight.requires_grad_()
    y = linear_logprobs(x, weight, target, compact=compact, keep_bytes=several(4))
    testing.assert_same(y, clean)
    dx, dweight = torch.autograd.grad(y.sum(), (x, weight))
    assert dweight.isfinite().all()
    assert not dx[target == -100].any()


def test_no_row_at_all() -> None:
    x, weight, target = leaves()
    y, entropy = linear_logprobs(x[:0], weight, target[:0], keep_bytes=ALL, **ENTROPY)
    dx, dweight = torch.autograd.grad((y.sum(), entropy.sum()), (x, weight))
    assert y.shape == entropy.shape == (0,)
    assert not dx.any()
    assert not dweight.any()


@pytest.mark.parametrize("wrong", [-1, COLS, 2**40])
def test_a_target_that_is_no_class_shows(wrong: int) -> None:
    x, weight, target = leaves()
    target[4] = wrong
    y, entropy = linear_logprobs(x, weight, target, **ENTROPY)
    assert y.isnan().nonzero().flatten().tolist() == [4]
    assert entropy.isfinite().all()
    (dx,) = torch.autograd.grad(y.sum(), x)
    assert dx.isnan().any(-1).nonzero().flatten().tolist() == [4]


def test_classes_that_are_ruled_out() -> None:
    """-inf is a probability of 0, which adds nothing to the entropy, nor to the gradient."""
    x, weight, target = leaves()
    target[:] = 7
    bias = torch.zeros(COLS, device=x.device)
    bias[50:] = -float("inf")
    found = linear_logprobs(x, weight, target, bias, **ENTROPY)
    wanted = linear_logprobs(x, weight[:50], target, **ENTROPY)
    for got, value in zip(found, wanted, strict=True):
        torch.testing.assert_close(got, value, rtol=1e-5, atol=1e-6)
    (dweight,) = torch.autograd.grad((found[0].sum(), found[1].sum()), weight)
    assert dweight.isfinite().all()
    assert not dweight[50:].any()


def test_target_in_32_bits() -> None:
    x, weight, target = draw()
    narrow = linear_logprobs(x, weight, target.int(), ignore_index=0)
    assert torch.equal(narrow, linear_logprobs(x, weight, target, ignore_index=0))


def test_batches() -> None:
    x, weight, target = draw()
    flat = linear_logprobs(x, weight, target, **ENTROPY)
    batched = x.view(4, 5, -1).requires_grad_()
    found = linear_logprobs(batched, weight, target.view(4, 5), **ENTROPY)
    for one, other in zip(found, flat, strict=True):
        assert torch.equal(one, other.view(4, 5))
    assert torch.autograd.grad(found[0].sum(), batched)[0].shape == batched.shape


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, linear_logprobs, layout)


def test_takes_any_layout_of_a_bias() -> None:
    testing.check_layout(WHOLE, linear_logprobs, "every_other_column")


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, linear_logprobs)


@pytest.mark.parametrize("keep", [several(2), ALL])
def test_compiles_where_logits_are_kept(keep: int) -> None:
    function = partial(linear_logprobs, keep_bytes=keep, **ENTROPY)
    testing.check_compiles(replace(SPEC, reference=partial(SPEC.reference, **ENTROPY)), function)


def test_registration_with_options() -> None:
    def call() -> None:
        x, weight, target, bias = draw(of=WHOLE, rows=4, cols=8)
        leaves = [t.requires_grad_() for t in (x, weight, bias)]
        options = {"keep_bytes": 64, "chunk_bytes": 32, "float32_sums": True, "compact": False}
        options["return_top1"] = True
        y, entropy, _ = linear_logprobs(x, weight, target, bias, **options, **ENTROPY)
        torch.autograd.grad(y.sum() + entropy.sum(), leaves)

    testing.check_ops("linear_logprobs", call)


def test_a_second_derivative_is_refused() -> None:
    x, weight, target = leaves()
    y = linear_logprobs(x, weight, target, keep_bytes=ALL)
    (dx,) = torch.autograd.grad(y.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="linear_logprobs has no second derivative"):
        dx.square().sum().backward()


def test_autocast() -> None:
    x, weight, target = leaves()
    narrow = linear_logprobs(x.bfloat16(), weight.bfloat16(), target)
    with torch.autocast(x.device.type, torch.bfloat16):
        y = linear_logprobs(x, weight, target)
    assert y.dtype == torch.float32
    assert torch.equal(y, narrow)
    both = (torch.autograd.grad(one.sum(), (x, weight)) for one in (y, narrow))
    for ours, theirs in zip(*both, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_module_is_the_function() -> None:
    x, _, target = draw()
    module = LinearLogprobs(x.shape[1], COLS, bias=True, **VARIANTS["policy"]).to(x.device)
    wanted = linear_logprobs(x, module.weight, target, module.bias, **VARIANTS["policy"])
    for got, value in zip(module(x, target), wanted, strict=True):
        assert torch.equal(got, value)
    assert LinearLogprobs(3, 5).bias is None
    assert "bias=True, temperature=0.7" in repr(module)


def test_refuses_other_dtypes() -> None:
    with pytest.raises(TypeError, match=r"linear_logprobs: x is torch\.float64"):
        linear_logprobs(*draw(torch.float64))
    x, weight, target = draw()
    with pytest.raises(TypeError, match=r"weight is torch\.bfloat16 but"):
        linear_logprobs(x, weight.bfloat16(), target)
    with pytest.raises(TypeError, match=r"bias is torch\.bfloat16 but"):
        linear_logprobs(x, weight, target, weight[:, 0].bfloat16())
    with pytest.raises(TypeError, match=r"target is torch\.float32"):
        linear_logprobs(x, weight, target.float())


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, linear_logprobs)
    x, weight, target = draw()
    with pytest.raises(ValueError, match="bias has shape"):
        linear_logprobs(x, weight, target, weight[1:, 0])
    with pytest.raises(ValueError, match="weight has shape"):
        linear_logprobs(x, weight[:0], target)
    with pytest.raises(ValueError, match="target has shape"):
        linear_logprobs(x, weight, target[:1])
    with pytest.raises(ValueError, match="target is on meta"):
        linear_logprobs(x, weight, target.to("meta"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"softcap": -1.0}, "softcap is -1.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": NAN}, "temperature is nan"),
        ({"chunk_bytes": 0}, "chunk_bytes is 0"),
        ({"keep_bytes": -1}, "chunk_bytes is .* and keep_bytes -1"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"linear_logprobs: {message}"):
        linear_logprobs(*draw(), **options)
