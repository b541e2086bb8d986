"""linear_jsd against its reference in float64, as near to it as PyTorch is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.bound import compare_one
from workbench_kernels.linear_jsd.spec import SPEC, VARIANTS, biased_linear_jsd
from workbench_kernels.linear_jsd.wrapper import LinearJsd, linear_jsd
from workbench_kernels.spec import OpSpec
from workbench_kernels.truth import expect

ROWS, COLS = 20, 70
NAN = float("nan")
BETAS = (0.0, 0.3, 1.0)


def whole_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return *SPEC.inputs(rows, cols), torch.randn(cols), torch.randn(cols)


# With biases.
WHOLE = replace(
    SPEC,
    reference=biased_linear_jsd,
    tensors=(*SPEC.tensors, "bias", "teacher_bias"),
    differentiable=("x", "weight", "bias"),
    inputs=whole_inputs,
)


def draw(
    dtype: torch.dtype = torch.float32, *, of: OpSpec = SPEC, rows: int = ROWS, cols: int = COLS
) -> list[Tensor]:
    return [*testing.draw(of, rows, cols, dtype)]


def leaves(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    x, weight, *others = draw(dtype)
    return [x.requires_grad_(), weight.requires_grad_(), *others]


def several(count: int, dtype: torch.dtype = torch.float32) -> int:
    """The bytes of so many rows of logits, of both."""
    return 2 * count * COLS * dtype.itemsize


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, linear_jsd, case)


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("reduction", ["mean", "none"])
def test_biases_chunks_and_temperature(reduction: str, beta: float) -> None:
    options = {"reduction": reduction, "beta": beta, "temperature": 0.7, "ignore_index": 0}
    for dtype in (torch.float32, torch.bfloat16):
        function = partial(linear_jsd, chunk_bytes=several(7, dtype))
        testing.check(WHOLE, function, draw(dtype, of=WHOLE), parameters=options)


@pytest.mark.parametrize("compact", [True, False])
@pytest.mark.parametrize("count", [3, ROWS])
def test_chunks_and_ignored_rows(count: int, compact: bool) -> None:
    inputs = draw(of=WHOLE)
    rows = torch.arange(ROWS, device=inputs[4].device)
    for ignored in (rows < 0, rows % 2 == 0, rows >= 0):
        function = partial(linear_jsd, chunk_bytes=several(count), compact=compact)
        inputs[4] = torch.where(ignored, -100, rows * 7 % COLS)
        testing.check(WHOLE, function, inputs)


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("needs", [("x",), ("weight",), ("bias",)], ids="+".join)
def test_only_what_requires_a_gradient(needs: tuple[str, ...], reduction: str) -> None:
    spec = replace(WHOLE, differentiable=needs)
    testing.check(spec, linear_jsd, draw(of=spec), parameters={"reduction": reduction})


@pytest.mark.parametrize("beta", [0.0, 1.0])
def test_a_wide_row_is_read_in_steps(beta: float) -> None:
    inputs = draw(torch.bfloat16, rows=2, cols=8300)
    testing.check(SPEC, linear_jsd, inputs, parameters={"beta": beta, "temperature": 0.5})


@pytest.mark.parametrize("beta", BETAS)
def test_a_student_that_is_its_teacher_has_nothing_to_learn(beta: float) -> None:
    x, weight, *_ = leaves()
    loss = linear_jsd(x, weight, x.detach(), weight.detach(), beta=beta)
    grads = torch.autograd.grad(loss, (x, weight))
    assert loss.abs() < 1e-6
    assert all(grad.abs().max() < 1e-6 for grad in grads)


@pytest.mark.parametrize("beta", BETAS)
def test_classes_that_only_one_of_them_has(beta: float) -> None:
    """A probability of 0 adds nothing, also where the other's is not."""
    x, weight, teacher_x, teacher_weight, _ = leaves()
    far = torch.zeros(COLS, device=x.device)
    far[:20] = -300.0
    given = (x, weight, teacher_x, teacher_weight, None)
    for bias, teacher_bias in ((far, None), (None, far)):
        loss = linear_jsd(*given, bias, teacher_bias, beta=beta)
        wide = [t.detach().double() for t in given[:4]]
        wide[0].requires_grad_()
        wide_biases = [b if b is None else b.double() for b in (bias, teacher_bias)]
        exact = _in_float64(*wide, *wide_biases, beta=beta)
        torch.testing.assert_close(loss.double(), exact, rtol=1e-5, atol=0)
        (dx,), (truth,) = torch.autograd.grad(loss, x), torch.autograd.grad(exact, wide[0])
        assert (dx.double() - truth).norm() <= 1e-5 * truth.norm()


def _in_float64(
    x: Tensor,
    weight: Tensor,
    teacher_x: Tensor,
    teacher_weight: Tensor,
    bias: Tensor | None = None,
    teacher_bias: Tensor | None = None,
    *,
    beta: float,
) -> Tensor:
    s = torch.log_softmax(x @ weight.t() + (0.0 if bias is None else bias), -1)
    t = x.new_zeros(()) if teacher_bias is None else teacher_bias
    t = torch.log_softmax(teacher_x @ teacher_weight.t() + t, -1)
    mixture = torch.log(beta * t.exp() + (1.0 - beta) * s.exp())
    if beta in (0.0, 1.0):
        mixture = s if beta == 0.0 else t
    of_t, of_s = (t.exp() * (t - mixture)).sum(-1), (s.exp() * (s - mixture)).sum(-1)
    if beta in (0.0, 1.0):
        return (of_t if beta == 0.0 else of_s).mean()
    return (beta * of_t + (1.0 - beta) * of_s).mean()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_retained_graph_gives_gradients_again(dtype: torch.dtype) -> None:
    inputs = leaves(dtype)
    expected = expect(SPEC, [t.detach() for t in inputs])
    loss = linear_jsd(*inputs)
    ask = partial(torch.autograd.grad, loss, inputs[:2], expected.upstream[0], retain_graph=True)
    first = ask()
    kept = [grad.clone() for grad in first]
    for name, *grads in zip(("dx", "dweight"), kept, ask(), strict=True):
        for got in grads:
            given = (expected.eager[name], expected.truth[name], expected.error[name])
            assert not compare_one(name, got, *given).message
    assert all(map(torch.equal, first, kept))


def test_sums_in_float32_lose_less_over_many_chunks() -> None:
    inputs = leaves(torch.bfloat16)[:4]
    wide = [t.detach().double().requires_grad_() for t in inputs]
    (truth,) = torch.autograd.grad(_in_float64(*wide, beta=0.5), wide[1])
    errors = []
    for float32_sums in (False, True):
        options = {"chunk_bytes": several(1, torch.bfloat16), "float32_sums": float32_sums}
        (dweight,) = torch.autograd.grad(linear_jsd(*inputs, **options), inputs[1])
        errors.append((dweight.double() - truth).norm())
    assert errors[1] < 0.9 * errors[0]


@pytest.mark.parametrize("compact", [True, False])
def test_ignored_rows_may_hold_anything(compact: bool) -> None:
    x, weight, teacher_x, teacher_weight, target = draw()
    target[1::3] = -100
    given = (x, weight, teacher_x, teacher_weight, target)
    clean = linear_jsd(*given, compact=compact)
    x[1::3] = teacher_x[1::3] = NAN
    x.requires_grad_()
    weight.requires_grad_()
    loss = linear_jsd(*given, compact=compact)
    assert torch.equal(loss, clean)
    dx, dweight = torch.autograd.grad(loss, (x, weight))
    assert dweight.isfinite().all()
    assert not dx[target == -100].any()


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_no_row_at_all(reduction: str) -> None:
    x, weight, teacher_x, teacher_weight, _ = leaves()
    loss = linear_jsd(x[:0], weight, teacher_x[:0], teacher_weight, reduction=reduction)
    dx, dweight = torch.autograd.grad(loss, (x, weight))
    assert loss == 0.0 if reduction == "sum" else loss.isnan()
    assert not dx.any()
    assert not dweight.any()


def test_without_a_target_every_row_counts() -> None:
    inputs = draw()
    assert torch.equal(linear_jsd(*inputs), linear_jsd(*inputs[:4]))
    narrow = linear_jsd(*inputs[:4], inputs[4].int(), ignore_index=0)
    assert torch.equal(narrow, linear_jsd(*inputs, ignore_index=0))


def test_batches() -> None:
    x, weight, teacher_x, teacher_weight, target = draw()
    flat = linear_jsd(x, weight, teacher_x, teacher_weight, target, reduction="none")
    batched = x.view(4, 5, -1).requires_grad_()
    others = (weight, teacher_x.view(4, 5, -1), teacher_weight, target.view(4, 5))
    found = linear_jsd(batched, *others, reduction="none")
    assert torch.equal(found, flat.view(4, 5))
    assert torch.autograd.grad(found.sum(), batched)[0].shape == batched.shape


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, linear_jsd, layout)


def test_takes_any_layout_of_biases() -> None:
    testing.check_layout(WHOLE, linear_jsd, "every_other_column")


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, linear_jsd)


def test_compiles_with_options() -> None:
    options = {**VARIANTS["per token"], "compact": False}
    reference = partial(SPEC.reference, **VARIANTS["per token"])
    testing.check_compiles(replace(SPEC, reference=reference), partial(linear_jsd, **options))


def test_registration_with_options() -> None:
    def call() -> None:
        x, weight, teacher_x, teacher_weight, target, *biases = draw(of=WHOLE, rows=4, cols=8)
        leaves = [t.requires_grad_() for t in (x, weight, biases[0])]
        options = {"reduction": "none", "compact": False, "float32_sums": True}
        loss = linear_jsd(x, weight, teacher_x, teacher_weight, target, *biases, **options)
        torch.autograd.grad(loss.sum(), leaves)

    testing.check_ops("linear_jsd", call)


def test_a_second_derivative_is_refused() -> None:
    inputs = leaves()
    (dx,) = torch.autograd.grad(linear_jsd(*inputs), inputs[0], create_graph=True)
    with pytest.raises(NotImplementedError, match="linear_jsd has no second derivative"):
        dx.square().sum().backward()


def test_autocast() -> None:
    inputs = leaves()
    narrow = linear_jsd(*(t.bfloat16() for t in inputs[:4]))
    with torch.autocast(inputs[0].device.type, torch.bfloat16):
        loss = linear_jsd(*inputs[:4])
    assert loss.dtype == torch.float32
    assert torch.equal(loss, narrow)
    both = (torch.autograd.grad(one, inputs[:2]) for one in (loss, narrow))
    for ours, theirs in zip(*both, strict=True):
        assert ours.dtype == torch.float32
        assert torch.equal(ours, theirs)


def test_module_is_the_function() -> None:
    x, _, teacher_x, teacher_weight, target = draw()
    module = LinearJsd(x.shape[1], COLS, bias=True, **VARIANTS["reverse"]).to(x.device)
    teacher = (teacher_x, teacher_weight, target)
    wanted = linear_jsd(x, module.weight, *teacher, module.bias, **VARIANTS["reverse"])
    assert torch.equal(module(x, *teacher), wanted)
    assert LinearJsd(3, 5).bias is None
    assert "bias=True, beta=1.0" in repr(module)


def test_refuses_other_dtypes() -> None:
    with pytest.raises(TypeError, match=r"linear_jsd: x is torch\.float64"):
        linear_jsd(*draw(torch.float64))
    x, weight, teacher_x, teacher_weight, target = draw()
    with pytest.raises(TypeError, match=r"weight is torch\.bfloat16 but x"):
        linear_jsd(x, weight.bfloat16(), teacher_x, teacher_weight)
    with pytest.raises(TypeError, match=r"teacher_x is torch\.bfloat16 but x"):
        linear_jsd(x, weight, teacher_x.bfloat16(), teacher_weight.bfloat16())
    with pytest.raises(TypeError, match=r"teacher_weight is torch\.bfloat16 but teacher_x"):
        linear_jsd(x, weight, teacher_x, teacher_weight.bfloat16())
    with pytest.raises(TypeError, match=r"target is torch\.float32"):
        linear_jsd(x, weight, teacher_x, teacher_weight, target.float())


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, linear_jsd)
    x, weight, teacher_x, teacher_weight, target = draw()
    with pytest.raises(ValueError, match=r"bias has shape \(69,\)"):
        linear_jsd(x, weight, teacher_x, teacher_weight, None, weight[1:, 0])
    with pytest.raises(ValueError, match=r"teacher_bias has shape \(69,\)"):
        linear_jsd(x, weight, teacher_x, teacher_weight, None, None, weight[1:, 0])
    with pytest.raises(ValueError, match="target has shape"):
        linear_jsd(x, weight, teacher_x, teacher_weight, target[:1])
    with pytest.raises(ValueError, match="target is on meta"):
        linear_jsd(x, weight, teacher_x, teacher_weight, target.to("meta"))


@pytest.mark.parametrize("which", ["x", "weight"])
def test_a_teacher_does_not_learn(which: str) -> None:
    inputs = draw()
    inputs[2 if which == "x" else 3].requires_grad_()
    with pytest.raises(ValueError, match=f"teacher_{which} requires a gradient"):
        linear_jsd(*inputs)
    with torch.no_grad():
        linear_jsd(*inputs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"beta": -0.1}, "beta is -0.1"),
        ({"beta": 1.1}, "beta is 1.1"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": NAN}, "temperature is nan"),
        ({"chunk_bytes": 0}, "chunk_bytes is 0"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"linear_jsd: {message}"):
        linear_jsd(*draw(), **options)
