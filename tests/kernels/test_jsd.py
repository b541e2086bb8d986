"""jsd against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.jsd.spec import SPEC, VARIANTS
from workbench_kernels.jsd.wrapper import Jsd, jsd
from workbench_kernels.spec import OpSpec

NAN, INF = float("nan"), float("inf")
BOTH = replace(SPEC, differentiable=("input", "target"))
BETAS = (0.0, 0.1, 0.5, 0.9, 1.0)


def with_options(spec: OpSpec, **options: Any) -> OpSpec:
    """The spec whose reference has other options."""
    return replace(spec, reference=partial(spec.reference, **options))


def check(inputs: tuple[Tensor, ...], spec: OpSpec = SPEC, **options: Any) -> None:
    testing.check(with_options(spec, **options), partial(jsd, **options), inputs)


def draw(
    rows: int, cols: int, from_logits: bool = True, dtype: torch.dtype = torch.float32
) -> tuple[Tensor, Tensor, Tensor]:
    input, target, labels = testing.draw(SPEC, rows, cols, dtype)
    if from_logits:
        return 3.0 * input, 5.0 * target, labels
    return input.log_softmax(-1), target.log_softmax(-1), labels


def gradients(input: Tensor, target: Tensor, *labels: Tensor, **options: Any) -> list[Tensor]:
    leaves = [t.clone().requires_grad_() for t in (input, target)]
    loss = jsd(*leaves, *labels, **options).sum()
    return [*torch.autograd.grad(loss, leaves)]


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, jsd, case)


@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "log-probabilities"])
@pytest.mark.parametrize("beta", BETAS)
def test_both_gradients(beta: float, from_logits: bool) -> None:
    inputs = draw(17, 100, from_logits)
    check(inputs, BOTH, ignore_index=0, beta=beta, from_logits=from_logits)
    inputs = draw(17, 100, from_logits, torch.bfloat16)
    check(inputs, BOTH, reduction="none", beta=beta, from_logits=from_logits)


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_the_teachers_gradient_alone(beta: float) -> None:
    check(draw(17, 100), replace(SPEC, differentiable=("target",)), beta=beta)


@pytest.mark.parametrize("beta", BETAS)
def test_exchanged(beta: float) -> None:
    """The divergence of the teacher from the student, with the other weight."""
    input, target, labels = draw(9, 257)
    one = jsd(input, target, labels, beta=beta, ignore_index=0)
    other = jsd(target, input, labels, beta=1.0 - beta, ignore_index=0)
    torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


@pytest.mark.parametrize("beta", BETAS)
def test_logits_or_their_log_probabilities(beta: float) -> None:
    """A softmax of log-probabilities changes nothing, nor does the gradient through it."""
    logits, other, labels = draw(9, 257)
    leaves = [logits.clone().requires_grad_() for _ in range(2)]
    one = jsd(leaves[0], other, labels, beta=beta)
    log_p, log_q = leaves[1].log_softmax(-1), other.log_softmax(-1)
    two = jsd(log_p, log_q, labels, beta=beta, from_logits=False)
    torch.testing.assert_close(one, two, rtol=1e-5, atol=0)
    torch.testing.assert_close(jsd(log_p, log_q, labels, beta=beta), two, rtol=1e-5, atol=0)
    grads = [torch.autograd.grad(y, leaf)[0] for y, leaf in zip((one, two), leaves, strict=True)]
    torch.testing.assert_close(*grads, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("beta", BETAS)
def test_student_and_teacher_agree(beta: float) -> None:
    input, _target, _labels = draw(5, 9001)
    loss = jsd(input, input, beta=beta, reduction="none")
    assert (loss.abs() < 1e-6).all()
    assert all((grad.abs() < 1e-6).all() for grad in gradients(input, input, beta=beta))


@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "log-probabilities"])
@pytest.mark.parametrize("beta", [0.0, 0.5])
def test_rows_that_do_not_count(beta: float, from_logits: bool) -> None:
    input, target, labels = draw(5, 100, from_logits)
    labels[:] = 1
    labels[[1, 3]] = -100
    kept = [0, 2, 4]
    input[1], target[1], input[3] = NAN, NAN, INF
    for reduction in ("batchmean", "mean"):
        options: Any = {"reduction": reduction, "beta": beta, "from_logits": from_logits}
        got = jsd(input, target, labels, **options)
        assert torch.equal(got, jsd(input[kept], target[kept], **options))
        grads = gradients(input, target, labels, **options)
        wanted = gradients(input[kept], target[kept], **options)
        for grad, want in zip(grads, wanted, strict=True):
            assert torch.equal(grad[kept], want)
            assert not grad[[1, 3]].any()
    per_row = jsd(input, target, labels, beta=beta, from_logits=from_logits, reduction="none")
    assert per_row[[1, 3]].tolist() == [0.0, 0.0]


def test_no_row_counts() -> None:
    input, target, labels = draw(5, 100)
    labels[:] = -100
    assert jsd(input, target, labels).isnan()
    assert jsd(input, target, labels, reduction="sum") == 0
    assert not any(grad.any() for grad in gradients(input, target, labels))
    assert jsd(input[:0], target[:0]).isnan()
    assert jsd(input[:0], target[:0], reduction="none").shape == (0,)


@pytest.mark.parametrize("from_logits", [True, False], ids=["logits", "log-probabilities"])
@pytest.mark.parametrize("beta", BETAS)
def test_classes_that_are_ruled_out(beta: float, from_logits: bool) -> None:
    """-inf in both is a probability of 0 in both, as where a vocabulary is padded."""
    input, target, _labels = draw(5, 9001, from_logits)
    input[:, 50:], target[:, 50:] = -INF, -INF
    options: Any = {"reduction": "none", "beta": beta, "from_logits": from_logits}
    wanted = jsd(input[:, :50], target[:, :50], **options)
    torch.testing.assert_close(jsd(input, target, **options), wanted, rtol=1e-5, atol=1e-7)
    grads = gradients(input, target, **options)
    assert all(grad.isfinite().all() and not grad[:, 50:].any() for grad in grads)


def test_what_one_rules_out() -> None:
    """Where q is 0 or p is, m is not: (1 - beta)·p or beta·q, both of known divergence."""
    input, target, _labels = draw(3, 100)
    input[:, 50:], target[:, :50] = -INF, -INF
    loss = jsd(input, target, beta=0.25, reduction="none")
    wanted = -(0.75 * torch.tensor(0.75).log() + 0.25 * torch.tensor(0.25).log())
    torch.testing.assert_close(loss, wanted.to(loss.device).expand(3), rtol=1e-6, atol=0)
    assert jsd(input, target, beta=0.0).isinf() and jsd(input, target, beta=1.0).isinf()


@pytest.mark.parametrize("value", [NAN, INF])
@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0])
def test_what_is_not_finite_spoils_its_row(beta: float, value: float) -> None:
    for place in range(2):
        inputs = draw(3, 9001)[:2]
        inputs[place][1, 70] = value
        loss = jsd(*inputs, beta=beta, reduction="none")
        assert loss.isnan().tolist() == [False, True, False]
    inputs = draw(3, 9001, from_logits=False)[:2]
    inputs[0][1, 70] = NAN
    loss = jsd(*inputs, beta=beta, reduction="none", from_logits=False)
    assert loss.isnan().tolist() == [False, True, False]


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, jsd, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    input, target, labels = draw(12, 33)
    put = testing.BATCHES[layout]
    check((put(input.view(3, 4, 33)), put(target.view(3, 4, 33)), labels.view(3, 4)))


def test_labels_in_32_bits() -> None:
    input, target, labels = draw(17, 100)
    wide = jsd(input, target, labels, ignore_index=0)
    assert torch.equal(jsd(input, target, labels.int(), ignore_index=0), wide)


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, jsd)


def test_is_a_torch_op_with_options() -> None:
    options = VARIANTS["reverse, per row"]
    testing.check_torch_op(with_options(BOTH, **options), partial(jsd, **options))


def test_module_is_the_function() -> None:
    input, target, labels = draw(3, 100)
    assert torch.equal(Jsd()(input, target), jsd(input, target))
    for options in VARIANTS.values():
        given = {name: value for name, value in options.items() if name != "labels"}
        got = Jsd(**given)(input, target, labels)
        assert torch.equal(got, jsd(input, target, labels, **given))
    assert "beta=0.25" in repr(Jsd(beta=0.25))


def test_refuses_other_dtypes() -> None:
    input, target, labels = draw(2, 8)
    with pytest.raises(TypeError, match=r"jsd: input is torch\.float64"):
        jsd(input.double(), target)
    with pytest.raises(TypeError, match=r"target is torch\.float16 but input is torch\.float32"):
        jsd(input, target.half())
    with pytest.raises(TypeError, match=r"labels is torch\.float32"):
        jsd(input, target, labels.float())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"beta": -0.1}, r"beta is -0.1, not in \[0, 1\]"),
        ({"beta": 1.1}, "beta is 1.1"),
        ({"beta": NAN}, "beta is nan"),
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"temperature": 0.0}, "temperature is 0.0; it must be positive"),
        ({"temperature": 2.0, "from_logits": False}, "probabilities take none but 1"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        jsd(*draw(2, 8), **options)


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, jsd)
    input, target, labels = draw(2, 8)
    with pytest.raises(ValueError, match=r"target has shape \(2, 7\), expected \(2, 8\)"):
        jsd(input, target[:, :7])
    with pytest.raises(ValueError, match=r"labels has shape \(1,\), expected \(2,\)"):
        jsd(input, target, labels[:1])
    with pytest.raises(ValueError, match="last dimension must not be empty"):
        jsd(input[:, :0], target[:, :0])
