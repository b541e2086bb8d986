"""linear_cross_entropy against its reference in float64, as near to it as PyTorch is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.bound import compare_one
from workbench_kernels.linear_cross_entropy.spec import (
    SPEC,
    VARIANTS,
    biased_linear_cross_entropy,
)
from workbench_kernels.linear_cross_entropy.wrapper import LinearCrossEntropy, linear_cross_entropy
from workbench_kernels.spec import OpSpec
from workbench_kernels.truth import expect, run

ROWS, COLS = 20, 70
NAN = float("nan")
SMOOTHED: dict[str, Any] = {"label_smoothing": 0.2, "z_loss": 0.1}
SETTINGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "smoothed": {"ignore_index": 0, **SMOOTHED},
    "per token": {"reduction": "none", "softcap": 1.5, **SMOOTHED},
    "capped": {"softcap": 2.0, "logit_scale": 3.0, "temperature": 0.5, **SMOOTHED},
    "scaled": {"logit_scale": -1.5, "temperature": 0.5, "reduction": "sum", "return_argmax": True},
}


def whole_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return *SPEC.inputs(rows, cols), torch.randn(cols), torch.rand(cols) + 0.5


# With a bias and class weights.
WHOLE = replace(
    SPEC,
    reference=biased_linear_cross_entropy,
    tensors=("x", "weight", "target", "bias", "class_weight"),
    differentiable=("x", "weight", "bias"),
    inputs=whole_inputs,
)


def in_chunks(count: int, dtype: torch.dtype, rows: int = ROWS, cols: int = COLS) -> int:
    """The bytes with which `rows` rows are done in so many chunks."""
    return -(-rows // count) * cols * dtype.itemsize


def draw(
    dtype: torch.dtype = torch.float32, *, of: OpSpec = SPEC, rows: int = ROWS, cols: int = COLS
) -> list[Tensor]:
    return [*testing.draw(of, rows, cols, dtype)]


def leaves(dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor, Tensor]:
    x, weight, target = draw(dtype)
    return x.requires_grad_(), weight.requires_grad_(), target


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, linear_cross_entropy, case)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, linear_cross_entropy, layout)


@pytest.mark.parametrize("layout", ["transposed", "every_other_column"])
def test_takes_any_layout_of_bias_and_weights(layout: str) -> None:
    testing.check_layout(WHOLE, linear_cross_entropy, layout)


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, linear_cross_entropy)


@pytest.mark.parametrize("name", SETTINGS)
def test_every_option_with_bias_and_class_weights(name: str) -> None:
    for dtype in (torch.float32, torch.bfloat16):
        chunked = partial(linear_cross_entropy, chunk_bytes=in_chunks(2, dtype))
        testing.check(WHOLE, chunked, draw(dtype, of=WHOLE), parameters=SETTINGS[name])


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_chunks_and_ignored_rows(reduction: str, compact: bool) -> None:
    inputs = draw(of=WHOLE)
    rows = torch.arange(ROWS, device=inputs[2].device)
    for count in (1, 3):
        for ignored in (rows < 0, rows % 2 == 0, rows >= 0):
            function = partial(
                linear_cross_entropy, chunk_bytes=in_chunks(count, torch.float32), compact=compact
            )
            inputs[2] = torch.where(ignored, -100, rows * 7 % COLS)
            testing.check(WHOLE, function, inputs, parameters={"reduction": reduction})


def test_many_rows_and_a_bias() -> None:
    """Several programs add up the bias's gradient of a chunk, and two steps find the rows."""
    inputs = draw(of=WHOLE, rows=1100, cols=3)
    chunked = partial(linear_cross_entropy, chunk_bytes=in_chunks(2, torch.float32, 1100, 3))
    testing.check(WHOLE, chunked, inputs, parameters={"ignore_index": 0})


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("needs", [("x",), ("weight",), ("bias",), ("x", "bias")], ids="+".join)
def test_only_what_requires_a_gradient(needs: tuple[str, ...], reduction: str) -> None:
    spec = replace(WHOLE, differentiable=needs)
    testing.check(spec, linear_cross_entropy, draw(of=spec), parameters={"reduction": reduction})


@pytest.mark.parametrize("dtype", SPEC.dtypes, ids=str)
@pytest.mark.parametrize("chunks", [1, 4])
def test_gradients_are_as_near_as_eagers(chunks: int, dtype: torch.dtype) -> None:
    """Within 1.25 of eager's error, also where the weight's gradient is added up in chunks."""
    rows, cols = 96, 300
    inputs = draw(dtype, rows=rows, cols=cols)
    inputs[0], inputs[1] = 3 * inputs[0], 3 * inputs[1]
    one = (torch.ones((), device=inputs[0].device),)
    eager = run(SPEC, SPEC.reference, inputs, one)
    wide = [t.double() if t.is_floating_point() else t for t in inputs]
    truth = run(SPEC, _in_float64, wide, one)
    function = partial(linear_cross_entropy, chunk_bytes=in_chunks(chunks, dtype, rows, cols))
    got = run(SPEC, function, inputs, one)
    for name in ("dx", "dweight"):
        error, eagers = ((t[name].double() - truth[name]).norm() for t in (got, eager))
        assert error <= 1.25 * eagers, (name, float(error / eagers))


def _in_float64(x: Tensor, weight: Tensor, target: Tensor) -> Tensor:
    return F.cross_entropy(F.linear(x, weight), target)


def test_sums_in_float32_lose_less_over_many_chunks() -> None:
    inputs = draw(torch.bfloat16, rows=60)
    one = (torch.ones((), device=inputs[0].device),)
    wide = [t.double() if t.is_floating_point() else t for t in inputs]
    truth = run(SPEC, _in_float64, wide, one)
    errors = []
    for float32_sums in (False, True):
        small = in_chunks(30, torch.bfloat16, 60)
        function = partial(linear_cross_entropy, chunk_bytes=small, float32_sums=float32_sums)
        got = run(SPEC, function, inputs, one)
        errors.append(float((got["dweight"].double() - truth["dweight"]).norm()))
    assert errors[1] < 0.7 * errors[0]


def test_a_divisor_takes_the_place_of_the_number_of_rows() -> None:
    x, weight, target = leaves()
    mean = linear_cross_entropy(x, weight, target)
    number = torch.tensor(ROWS, device=x.device)
    for divisor in (number, number.float().view(1), ROWS):
        loss = linear_cross_entropy(x, weight, target, divisor=divisor)
        assert torch.equal(loss, mean)
        for grads in zip(*(torch.autograd.grad(y, (x, weight)) for y in (loss, mean)), strict=True):
            assert torch.equal(*grads)
        mean = linear_cross_entropy(x, weight, target)
    half = linear_cross_entropy(x, weight, target, divisor=2 * number)
    assert torch.equal(2 * half, mean)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_retained_graph_gives_gradients_again(dtype: torch.dtype) -> None:
    x, weight, target = leaves(dtype)
    expected = expect(SPEC, (x.detach(), weight.detach(), target))
    (upstream,) = expected.upstream
    loss = linear_cross_entropy(x, weight, target)
    ask = partial(torch.autograd.grad, loss, (x, weight), retain_graph=True)
    first = ask(upstream)
    kept = [grad.clone() for grad in first]
    again = ask(upstream)
    for name, one, other in zip(("dx", "dweight"), kept, again, strict=True):
        for got in (one, other):
            slack, eager = expected.error[name], expected.eager[name]
            assert not compare_one(name, got, eager, expected.truth[name], slack).message
    assert all(map(torch.equal, first, kept))


def test_gradients_asked_for_one_by_one() -> None:
    x, weight, target = leaves()
    both = torch.autograd.grad(linear_cross_entropy(x, weight, target), (x, weight))
    loss = linear_cross_entropy(x, weight, target)
    (dweight,) = torch.autograd.grad(loss, weight, retain_graph=True)
    (dx,) = torch.autograd.grad(loss, x)
    assert torch.equal(dx, both[0])
    assert torch.equal(dweight, both[1])


def test_gradients_belong_to_whom_they_are_given() -> None:
    x, weight, target = leaves()
    (dweight,) = torch.autograd.grad(linear_cross_entropy(x, weight, target), weight)
    loss = linear_cross_entropy(x, weight, target)
    loss.backward(retain_graph=True)
    assert weight.grad is not None
    weight.grad.mul_(10.0)
    loss.backward()
    torch.testing.assert_close(weight.grad, 11.0 * dweight)
    with pytest.raises(RuntimeError, match="backward through the graph a second time"):
        loss.backward()


def test_an_upstream_gradient_of_zero() -> None:
    x, weight, target = leaves()
    loss = linear_cross_entropy(x, weight, target)
    zero = torch.autograd.grad(loss, (x, weight), 0.0 * loss.detach(), retain_graph=True)
    assert not any(grad.any() for grad in zero)
    (dx,) = torch.autograd.grad(loss, x)
    assert dx.any()


def test_a_scaled_loss_keeps_small_gradients_in_float16() -> None:
    x, weight, target = leaves(torch.float16)
    small = linear_cross_entropy(x, weight, target) * 1e-6
    (dx,) = torch.autograd.grad(small * 2.0**20, x)
    wide = [t.detach().double().requires_grad_() for t in (x, weight)]
    (exact,) = torch.autograd.grad(_in_float64(*wide, target), wide[0])
    exact = exact * 1e-6 * 2.0**20
    assert (dx.double() - exact).norm() < 2e-3 * exact.norm()


@pytest.mark.parametrize("compact", [True, False])
def test_ignored_rows_may_hold_anything(compact: bool) -> None:
    x, weight, target = draw()
    target[1::3] = -100
    clean = linear_cross_entropy(x, weight, target, compact=compact)
    x[target == -100] = NAN
    x.requires_grad_()
    weight.requires_grad_()
    loss = linear_cross_entropy(x, weight, target, compact=compact)
    assert torch.equal(loss, clean)
    dx, dweight = torch.autograd.grad(loss, (x, weight))
    assert dweight.isfinite().all()
    assert not dx[target == -100].any()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_no_row_at_all(reduction: str) -> None:
    x, weight, target = leaves()
    loss = linear_cross_entropy(x[:0], weight, target[:0], reduction=reduction)
    dx, dweight = torch.autograd.grad(loss, (x, weight))
    assert loss == 0.0 if reduction == "sum" else loss.isnan()
    assert not dx.any()
    assert not dweight.any()


@pytest.mark.parametrize("wrong", [-1, COLS, 2**40])
def test_a_target_that_is_no_class_shows(wrong: int) -> None:
    x, weight, target = leaves()
    target[4] = wrong
    class_weight = torch.ones(COLS, device=x.device)
    for weights in (None, class_weight):
        losses = linear_cross_entropy(x, weight, target, None, weights, reduction="none")
        assert losses.isnan().nonzero().flatten().tolist() == [4]
        (dx,) = torch.autograd.grad(losses.sum(), x)
        assert dx.isnan().any(-1).nonzero().flatten().tolist() == [4]


def test_target_in_32_bits() -> None:
    x, weight, target = draw()
    options: dict[str, Any] = {"ignore_index": 0, "return_argmax": True, "return_accuracy": True}
    narrow = linear_cross_entropy(x, weight, target.int(), **options)
    for one, other in zip(narrow, linear_cross_entropy(x, weight, target, **options), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("cols", [COLS, 16500])
def test_argmax_is_the_first_of_the_largest(cols: int) -> None:
    x, weight, target = draw(rows=3, cols=cols)
    weight[0] = 0.0
    weight[[cols - 1, 17]] = 10.0 * x[0].sign()
    argmax = linear_cross_entropy(x, weight, target, return_argmax=True)[1]
    assert argmax[0] == 17
    weight[40] = NAN
    assert linear_cross_entropy(x, weight, target, return_argmax=True)[1].tolist() == [40] * 3


def test_a_wide_row_is_read_in_steps() -> None:
    inputs = draw(of=WHOLE, rows=2, cols=16500)
    testing.check(WHOLE, linear_cross_entropy, inputs, parameters=SMOOTHED)


def test_batches() -> None:
    x, weight, target = draw()
    flat = linear_cross_entropy(x, weight, target, reduction="none", return_argmax=True)
    batched = x.view(4, 5, -1).requires_grad_()
    found = linear_cross_entropy(
        batched, weight, target.view(4, 5), reduction="none", return_argmax=True
    )
    for one, other in zip(found, flat, strict=True):
        assert torch.equal(one, other.view(4, 5))
    assert torch.autograd.grad(found[0].sum(), batched)[0].shape == batched.shape


@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_compiles_with_any_rows_ignored(reduction: str) -> None:
    torch._dynamo.reset()
    options = {"reduction": reduction, "label_smoothing": 0.1}
    function = partial(linear_cross_entropy, **options)
    compiled = torch.compile(function, fullgraph=True, backend="aot_eager")
    for ignored in (slice(0, 0), slice(0, None, 2), slice(0, None)):
        inputs = draw(torch.bfloat16, of=WHOLE)
        inputs[2][ignored] = -100
        upstream = expect(WHOLE, inputs, parameters=options).upstream
        plain, other = (run(WHOLE, f, inputs, upstream) for f in (function, compiled))
        assert plain.keys() == other.keys()
        for name, value in plain.items():
            assert torch.equal(value.nan_to_num(7.0), other[name].nan_to_num(7.0)), name


def test_compiled_takes_a_retained_graph_too() -> None:
    torch._dynamo.reset()
    x, weight, target = leaves()
    plain = torch.autograd.grad(2.0 * linear_cross_entropy(x, weight, target), (x, weight))
    compiled = torch.compile(linear_cross_entropy, fullgraph=True, backend="aot_eager")
    loss = compiled(x, weight, target)
    for _ in range(2):
        again = torch.autograd.grad(2.0 * loss, (x, weight), retain_graph=True)
        assert all(map(torch.equal, again, plain))


@pytest.mark.parametrize(
    "options",
    [{"reduction": "none"}, {"return_argmax": True, "float32_sums": True, "compact": False}],
    ids=["per token", "others"],
)
def test_registration_with_options(options: dict[str, Any]) -> None:
    def call() -> None:
        inputs = draw(torch.bfloat16, of=WHOLE, rows=4, cols=8)
        for index in (0, 1, 3):
            inputs[index].requires_grad_()
        loss = linear_cross_entropy(*inputs, **options)
        (loss[0] if isinstance(loss, tuple) else loss).sum().backward()

    testing.check_ops("linear_cross_entropy", call)


def test_autocast() -> None:
    x, weight, target = leaves()
    narrow = linear_cross_entropy(x.bfloat16(), weight.bfloat16(), target)
    with torch.autocast(x.device.type, torch.bfloat16):
        loss = linear_cross_entropy(x, weight, target)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, narrow)
    both = (torch.autograd.grad(y, (x, weight)) for y in (loss, narrow))
    for ours, theirs in zip(*both, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_module_is_the_function() -> None:
    x, _, target = draw()
    module = LinearCrossEntropy(x.shape[1], COLS, bias=True, **VARIANTS["metrics"]).to(x.device)
    wanted = linear_cross_entropy(x, module.weight, target, module.bias, **VARIANTS["metrics"])
    for got, value in zip(module(x, target), wanted, strict=True):
        assert torch.equal(got, value)
    assert LinearCrossEntropy(3, 5).bias is None
    assert "bias=True, ignore_index=0" in repr(module)


def test_refuses_other_dtypes() -> None:
    with pytest.raises(TypeError, match=r"linear_cross_entropy: x is torch\.float64"):
        linear_cross_entropy(*draw(torch.float64))
    x, weight, target = draw()
    with pytest.raises(TypeError, match=r"weight is torch\.bfloat16 but"):
        linear_cross_entropy(x, weight.bfloat16(), target)
    with pytest.raises(TypeError, match=r"bias is torch\.bfloat16 but"):
        linear_cross_entropy(x, weight, target, weight[:, 0].bfloat16())
    with pytest.raises(TypeError, match=r"target is torch\.float32"):
        linear_cross_entropy(x, weight, target.float())
    with pytest.raises(TypeError, match=r"class_weight is torch\.float64"):
        linear_cross_entropy(x, weight, target, class_weight=weight[:, 0].double())


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, linear_cross_entropy)
    x, weight, target = draw()
    for name in ("bias", "class_weight"):
        with pytest.raises(ValueError, match=f"{name} has shape"):
            linear_cross_entropy(x, weight, target, **{name: weight[1:, 0]})
    with pytest.raises(ValueError, match="weight has shape"):
        linear_cross_entropy(x, weight[:0], target)
    with pytest.raises(ValueError, match="target has shape"):
        linear_cross_entropy(x, weight, target[:1])
    with pytest.raises(ValueError, match="target is on meta"):
        linear_cross_entropy(x, weight, target.to("meta"))
    with pytest.raises(ValueError, match="class_weight is on meta"):
        linear_cross_entropy(x, weight, target, class_weight=weight[:, 0].to("meta"))
    with pytest.raises(ValueError, match="class_weight requires a gradient"):
        trained = weight[:, 0].clone().requires_grad_()
        linear_cross_entropy(x, weight, target, class_weight=trained)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
        ({"label_smoothing": 1.1}, "label_smoothing is 1.1"),
        ({"softcap": -1.0}, "softcap is -1.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": NAN}, "temperature is nan"),
        ({"chunk_bytes": 0}, "chunk_bytes is 0"),
        ({"divisor": 3.0, "reduction": "sum"}, "a divisor is for mean, not for sum"),
        ({"divisor": torch.ones(2)}, r"divisor has shape \(2,\)"),
        ({"divisor": torch.ones((), device="meta")}, "divisor has shape .* on meta"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"linear_cross_entropy: {message}"):
        linear_cross_entropy(*draw(), **options)
