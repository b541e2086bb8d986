"""tvd against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.spec import OpSpec
from workbench_kernels.tvd.spec import SPEC, VARIANTS
from workbench_kernels.tvd.wrapper import Tvd, tvd

NAN, INF = float("nan"), float("inf")
BOTH = replace(SPEC, differentiable=("input", "target"))
FORMS = {"logits": True, "log-probabilities": False}


def with_options(spec: OpSpec, **options: Any) -> OpSpec:
    """The spec whose reference has other options."""
    return replace(spec, reference=partial(spec.reference, **options))


def check(inputs: tuple[Tensor, ...], spec: OpSpec = SPEC, **options: Any) -> None:
    testing.check(with_options(spec, **options), partial(tvd, **options), inputs)


def draw(
    rows: int, cols: int, from_logits: bool = True, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    input, target, labels = testing.draw(SPEC, rows, cols, dtype)
    if from_logits:
        return 3.0 * input, 5.0 * target, labels
    return input.log_softmax(-1), target.log_softmax(-1), labels


def gradients(input: Tensor, target: Tensor, *labels: Tensor, **options: Any) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in (input, target)]
    loss = tvd(*leaves, *labels, **options).sum()
    return [*torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, tvd, case)


@pytest.mark.parametrize("form", FORMS)
def test_both_gradients(form: str) -> None:
    check(draw(17, 100, FORMS[form]), BOTH, ignore_index=0, from_logits=FORMS[form])
    inputs = draw(17, 100, FORMS[form], torch.bfloat16)
    check(inputs, BOTH, reduction="none", from_logits=FORMS[form])


def test_the_teachers_gradient_alone() -> None:
    check(draw(17, 100), replace(SPEC, differentiable=("target",)))


def test_is_symmetric() -> None:
    input, target, labels = draw(9, 257)
    one, other = tvd(input, target, labels), tvd(target, input, labels)
    torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_logits_or_their_log_probabilities() -> None:
    """A softmax of log-probabilities changes nothing, nor does the gradient through it."""
    logits, other, labels = draw(9, 257)
    leaves = [logits.clone().requires_grad_() for _ in range(2)]
    one = tvd(leaves[0], other, labels)
    log_p, log_q = leaves[1].log_softmax(-1), other.log_softmax(-1)
    two = tvd(log_p, log_q, labels, from_logits=False)
    torch.testing.assert_close(one, two, rtol=1e-5, atol=0)
    torch.testing.assert_close(tvd(log_p, log_q, labels), two, rtol=1e-5, atol=0)
    grads = [torch.autograd.grad(y, leaf)[0] for y, leaf in zip((one, two), leaves, strict=True)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_student_and_teacher_agree(form: str) -> None:
    """Equal probabilities have a sign of 0, as PyTorch's."""
    input, _target, _labels = draw(5, 9001, FORMS[form])
    assert not tvd(input, input, reduction="none", from_logits=FORMS[form]).any()
    assert not any(grad.any() for grad in gradients(input, input, from_logits=FORMS[form]))


def test_nothing_in_common() -> None:
    input, target, _labels = draw(3, 100)
    input[:, 50:], target[:, :50] = -INF, -INF
    loss = tvd(input, target, reduction="none")
    torch.testing.assert_close(loss, torch.ones_like(loss), rtol=1e-6, atol=0)
    assert all((grad.abs() < 1e-6).all() for grad in gradients(input, target))


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_do_not_count(form: str) -> None:
    input, target, labels = draw(5, 100, FORMS[form])
    labels[:] = 1
    labels[[1, 3]] = -100
    kept = [0, 2, 4]
    input[1], target[1], input[3] = NAN, NAN, INF
    for reduction in ("batchmean", "mean"):
        options: Any = {"reduction": reduction, "from_logits": FORMS[form]}
        got = tvd(input, target, labels, **options)
        assert torch.equal(got, tvd(input[kept], target[kept], **options))
        grads = gradients(input, target, labels, **options)
        wanted = gradients(input[kept], target[kept], **options)
        for grad, want in zip(grads, wanted, strict=True):
            assert torch.equal(grad[kept], want)
            assert not grad[[1, 3]].any()
    per_row = tvd(input, target, labels, from_logits=FORMS[form], reduction="none")
    assert per_row[[1, 3]].tolist() == [0.0, 0.0]


def test_no_row_counts() -> None:
    input, target, labels = draw(5, 100)
    labels[:] = -100
    assert tvd(input, target, labels).isnan()
    assert tvd(input, target, labels, reduction="sum") == 0
    assert not any(grad.any() for grad in gradients(input, target, labels))
    assert tvd(input[:0], target[:0]).isnan()
    assert tvd(input[:0], target[:0], reduction="none").shape == (0,)


@pytest.mark.parametrize("form", FORMS)
def test_classes_that_are_ruled_out(form: str) -> None:
    """-inf in both is a probability of 0 in both, as where a vocabulary is padded."""
    input, target, _labels = draw(5, 9001, FORMS[form])
    input[:, 50:], target[:, 50:] = -INF, -INF
    options: Any = {"reduction": "none", "from_logits": FORMS[form]}
    wanted = tvd(input[:, :50], target[:, :50], **options)
    torch.testing.assert_close(tvd(input, target, **options), wanted, rtol=1e-5, atol=1e-7)
    grads = gradients(input, target, **options)
    assert all(grad.isfinite().all() and not grad[:, 50:].any() for grad in grads)


@pytest.mark.parametrize("value", [NAN, INF])
def test_what_is_not_finite_spoils_its_row(value: float) -> None:
    for place in range(2):
        inputs = draw(3, 9001)[:2]
        inputs[place][1, 70] = value
        assert tvd(*inputs, reduction="none").isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, tvd, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    input, target, labels = draw(12, 33)
    put = testing.BATCHES[layout]
    check((put(input.view(3, 4, 33)), put(target.view(3, 4, 33)), labels.view(3, 4)))


def test_labels_in_32_bits() -> None:
    input, target, labels = draw(17, 100)
    wide = tvd(input, target, labels, ignore_index=0)
    assert torch.equal(tvd(input, target, labels.int(), ignore_index=0), wide)


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, tvd)


def test_is_a_torch_op_with_options() -> None:
    options = VARIANTS["log-probabilities"]
    testing.check_torch_op(with_options(BOTH, **options), partial(tvd, **options))


def test_module_is_the_function() -> None:
    input, target, labels = draw(3, 100)
    assert torch.equal(Tvd()(input, target), tvd(input, target))
    for options in VARIANTS.values():
        given = {name: value for name, value in options.items() if name != "labels"}
        got = Tvd(**given)(input, target, labels)
        assert torch.equal(got, tvd(input, target, labels, **given))
    assert "temperature=0.25" in repr(Tvd(temperature=0.25))


def test_refuses_other_dtypes() -> None:
    input, target, labels = draw(2, 8)
    with pytest.raises(TypeError, match=r"tvd: input is torch\.float64"):
        tvd(input.double(), target)
    with pytest.raises(TypeError, match=r"target is torch\.float16 but input is torch\.float32"):
        tvd(input, target.half())
    with pytest.raises(TypeError, match=r"labels is torch\.float32"):
        tvd(input, target, labels.float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be positive"),
        ({"temperature": 2.0, "from_logits": False}, "probabilities take none but 1"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tvd(*draw(2, 8), **options)


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, tvd)
    input, target, labels = draw(2, 8)
    with pytest.raises(ValueError, match=r"target has shape \(2, 7\), expected \(2, 8\)"):
        tvd(input, target[:, :7])
    with pytest.raises(ValueError, match=r"labels has shape \(1,\), expected \(2,\)"):
        tvd(input, target, labels[:1])
    with pytest.raises(ValueError, match="last dimension must not be empty"):
        tvd(input[:, :0], target[:, :0])
