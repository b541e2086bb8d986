"""kl_div against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.kl_div.spec import SPEC, VARIANTS
from workbench_kernels.kl_div.wrapper import KlDiv, kl_div
from workbench_kernels.spec import OpSpec

NAN, INF = float("nan"), float("inf")
BOTH = replace(SPEC, differentiable=("input", "target"))
# Each kind of input, in both directions.
FORMS: dict[str, dict[str, Any]] = {
    "probabilities": {},
    "log target": {"log_target": True},
    "logits": {"from_logits": True},
    "reverse": {"reverse": True},
    "reverse, log target": {"reverse": True, "log_target": True},
    "reverse, logits": {"reverse": True, "from_logits": True},
}


def with_options(spec: OpSpec, **options: Any) -> OpSpec:
    """The spec whose reference has other options."""
    return replace(spec, reference=partial(spec.reference, **options))


def check(inputs: tuple[Tensor, ...], spec: OpSpec = SPEC, **options: Any) -> None:
    testing.check(with_options(spec, **options), partial(kl_div, **options), inputs)


def draw(
    rows: int, cols: int, form: Mapping[str, Any], dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    log_p, q, labels = testing.draw(SPEC, rows, cols, dtype)
    if form.get("from_logits"):
        return 3.0 * log_p, 5.0 * q, labels
    return log_p, q.log() if form.get("log_target") else q, labels


def gradients(input: Tensor, target: Tensor, *labels: Tensor, **options: Any) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in (input, target)]
    loss = kl_div(*leaves, *labels, **options).sum()
    return [*torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, kl_div, case)


@pytest.mark.parametrize("form", FORMS)
def test_both_gradients(form: str) -> None:
    check(draw(17, 100, FORMS[form]), BOTH, ignore_index=0, **FORMS[form])


@pytest.mark.parametrize("form", FORMS)
def test_both_gradients_in_16_bits(form: str) -> None:
    inputs = draw(17, 100, FORMS[form], torch.bfloat16)
    check(inputs, BOTH, ignore_index=0, reduction="none", **FORMS[form])


def test_the_teachers_gradient_alone() -> None:
    alone = replace(SPEC, differentiable=("target",))
    for form in ("probabilities", "reverse, logits"):
        check(draw(17, 100, FORMS[form]), alone, **FORMS[form])


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
@pytest.mark.parametrize("reduction", ["mean", "batchmean", "sum"])
@pytest.mark.parametrize("log_target", [False, True])
def test_is_what_pytorch_has(log_target: bool, reduction: str) -> None:
    log_p, q, _labels = draw(9, 257, {"log_target": log_target})
    options: Any = {"log_target": log_target, "reduction": reduction}
    torch.testing.assert_close(kl_div(log_p, q, **options), F.kl_div(log_p, q, **options))


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")
def test_its_default_is_pytorchs() -> None:
    log_p, q, _labels = draw(9, 257, {})
    torch.testing.assert_close(kl_div(log_p, q), F.kl_div(log_p, q))
    torch.testing.assert_close(KlDiv()(log_p, q), torch.nn.KLDivLoss()(log_p, q))


def test_logits_or_their_log_probabilities() -> None:
    """A softmax of log-probabilities changes nothing, nor does the gradient through it."""
    logits, other, labels = draw(9, 257, FORMS["logits"])
    leaves = [logits.clone().requires_grad_() for _ in range(2)]
    one = kl_div(leaves[0], other, labels, from_logits=True)
    log_p, log_q = leaves[1].log_softmax(-1), other.log_softmax(-1)
    two = kl_div(log_p, log_q, labels, log_target=True)
    torch.testing.assert_close(one, two, rtol=1e-5, atol=0)
    grads = [torch.autograd.grad(y, leaf)[0] for y, leaf in zip((one, two), leaves, strict=True)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("form", FORMS)
def test_rows_that_do_not_count(form: str) -> None:
    input, target, labels = draw(5, 100, FORMS[form])
    labels[:] = 1
    labels[[1, 3]] = -100
    kept = [0, 2, 4]
    input[1], target[1], input[3] = NAN, NAN, INF
    for reduction in ("batchmean", "mean"):
        options = {"reduction": reduction, **FORMS[form]}
        got = kl_div(input, target, labels, **options)
        assert torch.equal(got, kl_div(input[kept], target[kept], **options))
        grads = gradients(input, target, labels, **options)
        wanted = gradients(input[kept], target[kept], **options)
        for grad, want in zip(grads, wanted, strict=True):
            assert torch.equal(grad[kept], want)
            assert not grad[[1, 3]].any()
    per_row = kl_div(input, target, labels, reduction="none", **FORMS[form])
    assert per_row[[1, 3]].tolist() == [0.0, 0.0]


def test_no_row_counts() -> None:
    input, target, labels = draw(5, 100, FORMS["logits"])
    labels[:] = -100
    assert kl_div(input, target, labels, from_logits=True).isnan()
    assert kl_div(input, target, labels, from_logits=True, reduction="sum") == 0
    assert not any(grad.any() for grad in gradients(input, target, labels, from_logits=True))
    assert kl_div(input[:0], target[:0]).isnan()
    assert kl_div(input[:0], target[:0], reduction="none").shape == (0,)


@pytest.mark.parametrize("form", ["logits", "reverse, logits", "log target"])
def test_classes_that_are_ruled_out(form: str) -> None:
    """-inf in both is a probability of 0 in both, as where a vocabulary is padded."""
    input, target, _labels = draw(5, 9001, FORMS[form])
    input[:, 50:], target[:, 50:] = -INF, -INF
    options = {"reduction": "none", **FORMS[form]}
    wanted = kl_div(input[:, :50], target[:, :50], **options)
    torch.testing.assert_close(kl_div(input, target, **options), wanted, rtol=1e-5, atol=1e-7)
    grads = gradients(input, target, **options)
    assert all(grad.isfinite().all() and not grad[:, 50:].any() for grad in grads)


def test_what_the_other_rules_out_is_infinitely_far() -> None:
    input, target, _labels = draw(3, 100, FORMS["logits"])
    input[1, 7] = -INF
    loss = kl_div(input, target, from_logits=True, reduction="none")
    assert loss.isinf().tolist() == [False, True, False]
    reverse = kl_div(input, target, from_logits=True, reverse=True, reduction="none")
    assert reverse.isfinite().all()


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("form", ["logits", "reverse, logits"])
def test_what_is_not_finite_spoils_its_row(form: str, value: float) -> None:
    for place in range(2):
        inputs = draw(3, 9001, FORMS[form])[:2]
        inputs[place][1, 70] = value
        loss = kl_div(*inputs, reduction="none", **FORMS[form])
        assert loss.isnan().tolist() == [False, True, False]


def test_more_rows_than_are_added_at_once() -> None:
    input, target, labels = draw(9000, 3, {})
    check((input, target, labels), ignore_index=0, reduction="mean")


def test_labels_in_32_bits() -> None:
    input, target, labels = draw(17, 100, {})
    wide = kl_div(input, target, labels, ignore_index=0)
    assert torch.equal(kl_div(input, target, labels.int(), ignore_index=0), wide)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, kl_div, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    input, target, labels = draw(12, 33, {})
    put = testing.BATCHES[layout]
    check((put(input.view(3, 4, 33)), put(target.view(3, 4, 33)), labels.view(3, 4)))


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, kl_div)


def test_is_a_torch_op_with_options() -> None:
    options = VARIANTS["on policy"]
    testing.check_torch_op(with_options(BOTH, **options), partial(kl_div, **options))


def test_module_is_the_function() -> None:
    input, target, labels = draw(3, 100, {})
    assert torch.equal(KlDiv()(input, target), kl_div(input, target))
    for options in VARIANTS.values():
        given = {name: value for name, value in options.items() if name != "labels"}
        got = KlDiv(**given)(input, target, labels)
        assert torch.equal(got, kl_div(input, target, labels, **given))
    assert "reverse=True" in repr(KlDiv(reverse=True))


def test_refuses_other_dtypes() -> None:
    input, target, labels = draw(2, 8, {})
    with pytest.raises(TypeError, match=r"kl_div: input is torch\.float64"):
        kl_div(input.double(), target)
    with pytest.raises(TypeError, match=r"target is torch\.float16 but input is torch\.float32"):
        kl_div(input, target.half())
    with pytest.raises(TypeError, match=r"labels is torch\.float32"):
        kl_div(input, target, labels.float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"from_logits": True, "temperature": 0.0}, "temperature is 0.0; it must be positive"),
        ({"from_logits": True, "temperature": NAN}, "temperature is nan"),
        ({"temperature": 2.0}, "temperature is 2.0; probabilities take none but 1"),
        ({"from_logits": True, "log_target": True}, "leave log_target out"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kl_div(*draw(2, 8, {}), **options)


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, kl_div)
    input, target, labels = draw(2, 8, {})
    with pytest.raises(ValueError, match=r"target has shape \(2, 7\), expected \(2, 8\)"):
        kl_div(input, target[:, :7])
    with pytest.raises(ValueError, match=r"labels has shape \(1,\), expected \(2,\)"):
        kl_div(input, target, labels[:1])
    with pytest.raises(ValueError, match="last dimension must not be empty"):
        kl_div(input[:, :0], target[:, :0])
    with pytest.raises(ValueError, match="labels is on meta"):
        kl_div(input, target, labels.to("meta"))
