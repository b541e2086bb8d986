"""cross_entropy against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.cross_entropy.spec import SPEC, VARIANTS, weighted_cross_entropy
from workbench_kernels.cross_entropy.wrapper import CrossEntropy, cross_entropy
from workbench_kernels.spec import OpSpec

NAN, INF = float("nan"), float("inf")
# A row of the second is read in two steps, the last of them not full.
SHAPES = ((17, 100), (3, 9001))
SMOOTHED: dict[str, Any] = {"ignore_index": 0, "label_smoothing": 0.2}
WEIGHTED: dict[str, dict[str, Any]] = {
    "mean": {"ignore_index": 0},
    "smoothed": {"z_loss": 1e-2, **SMOOTHED},
    "smoothed, per token": {"z_loss": 1e-2, "reduction": "none", **SMOOTHED},
    "all returned": {"return_log_prob": True, "return_entropy": True, **SMOOTHED},
}
SETTINGS: dict[str, dict[str, Any]] = {
    **{name: dict(options) for name, options in VARIANTS.items()},
    "capped": {"softcap": 2.0, "logit_scale": 3.0, "temperature": 0.5, "return_entropy": True},
    "scaled": {"logit_scale": -1.5, "temperature": 0.5, "return_argmax": True, **SMOOTHED},
    "z": {"z_loss": 0.1, "label_smoothing": 0.3, "reduction": "sum"},
}


def truth(**options: Any) -> OpSpec:
    """The spec whose reference has other options."""
    return replace(SPEC, reference=partial(weighted_cross_entropy, **options))


def check(inputs: tuple[Tensor, ...], **options: Any) -> None:
    testing.check(truth(**options), partial(cross_entropy, **options), inputs)


def draw(rows: int, cols: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    x, target = testing.draw(SPEC, rows, cols, dtype)
    return x, target


def weights(cols: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return ((torch.arange(cols, device=testing.device()) % 7 + 0.5) / 3).to(dtype)


def gradient(x: Tensor, target: Tensor, **options: Any) -> Tensor:
    leaf = x.clone().requires_grad_()
    cross_entropy(leaf, target, **options).sum().backward()
    assert leaf.grad is not None
    return leaf.grad


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, cross_entropy, case)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_every_option(name: str, shape: tuple[int, int]) -> None:
    check(draw(*shape), **SETTINGS[name])


@pytest.mark.parametrize("name", SETTINGS)
def test_every_option_in_16_bits(name: str) -> None:
    check(draw(17, 100, torch.bfloat16), **SETTINGS[name])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", WEIGHTED)
def test_weights_of_classes(name: str, shape: tuple[int, int]) -> None:
    check(draw(*shape), weight=weights(shape[1]), **WEIGHTED[name])


def test_weights_in_another_dtype() -> None:
    x, target = draw(17, 100, torch.bfloat16)
    for dtype in (torch.float32, torch.float16):
        check((x, target), weight=weights(100, dtype), **SMOOTHED)


@pytest.mark.parametrize("output", range(3))
def test_one_output_is_sent_a_gradient(output: int) -> None:
    """The others have none, as where only the entropy is trained."""
    options = {"return_log_prob": True, "return_entropy": True, "reduction": "none"}

    def one(function: Any) -> Any:
        return lambda input, target: function(input, target, ignore_index=0, **options)[output]

    testing.check(
        replace(SPEC, reference=one(weighted_cross_entropy)), one(cross_entropy), draw(17, 100)
    )


def test_more_rows_than_the_mean_takes_at_once() -> None:
    options: Mapping[str, Any] = {"return_accuracy": True, "ignore_index": 0}
    check(draw(9000, 3), **options)
    check(draw(9000, 3), weight=weights(3), **options)


def test_dimensions_before_the_rows() -> None:
    x, target = draw(12, 33)
    options = {"return_log_prob": True, "return_argmax": True, "reduction": "none"}
    check((x.view(2, 3, 2, 33), target.view(2, 3, 2)), **options)
    check((x[0], target[0]), **options)


def test_target_in_32_bits() -> None:
    x, target = draw(17, 100)
    wide = cross_entropy(x, target, ignore_index=0)
    assert torch.equal(cross_entropy(x, target.int(), ignore_index=0), wide)
    narrow = gradient(x, target.int(), ignore_index=0)
    assert torch.equal(narrow, gradient(x, target, ignore_index=0))


@pytest.mark.parametrize("cols", [100, 9001])
def test_ignored_rows_count_for_nothing(cols: int) -> None:
    x, target = draw(5, cols)
    target[1] = target[3] = -100
    kept = [0, 2, 4]
    x[1], x[3] = NAN, INF
    for options in ({}, {"label_smoothing": 0.1, "z_loss": 0.1}):
        assert torch.equal(
            cross_entropy(x, target, **options), cross_entropy(x[kept], target[kept], **options)
        )
        dx = gradient(x, target, **options)
        assert torch.equal(dx[kept], gradient(x[kept], target[kept], **options))
        assert not dx[[1, 3]].any()


def test_nothing_kept() -> None:
    x, target = draw(5, 100)
    target[:] = -100
    y, accuracy = cross_entropy(x, target, return_accuracy=True, **{"label_smoothing": 0.1})
    assert y.isnan() and accuracy.isnan()
    for options in ({}, {"weight": weights(100), "label_smoothing": 0.1}, {"reduction": "sum"}):
        assert not gradient(x, target, **options).any()
    assert cross_entropy(x, target, reduction="sum") == 0


def test_no_rows() -> None:
    x, target = draw(0, 100)
    assert cross_entropy(x, target).isnan()
    assert cross_entropy(x, target, reduction="none").shape == (0,)
    assert gradient(x, target).shape == (0, 100)


@pytest.mark.parametrize("wrong", [-1, 100, 2**40])
@pytest.mark.parametrize("options", [{}, {"weight": weights(100)}], ids=["plain", "weighted"])
def test_a_target_that_is_no_class_shows(wrong: int, options: dict[str, Any]) -> None:
    x, target = draw(5, 100)
    target[2] = wrong
    y, log_prob = cross_entropy(x, target, reduction="none", return_log_prob=True, **options)
    assert y.isnan().tolist() == log_prob.isnan().tolist() == [False, False, True, False, False]
    dx = gradient(x, target, reduction="none", **options)
    assert dx.isnan().all(-1).tolist() == [False, False, True, False, False]
    assert not dx[[0, 1, 3, 4]].isnan().any()


def test_classes_that_are_ruled_out() -> None:
    """-inf is a probability of 0, which adds nothing to the entropy, nor to the gradient."""
    x, target = draw(5, 100)
    target[:] = 7
    out = x.clone()
    out[:, 50:] = -INF
    options = {"return_entropy": True, "reduction": "none"}
    for got, wanted in zip(
        cross_entropy(out, target, **options),
        cross_entropy(x[:, :50], target, **options),
        strict=True,
    ):
        torch.testing.assert_close(got, wanted, rtol=1e-6, atol=0)
    leaf = out.requires_grad_()
    sum(y.sum() for y in cross_entropy(leaf, target, **options)).backward()
    assert leaf.grad is not None and leaf.grad.isfinite().all()
    assert not leaf.grad[:, 50:].any()


@pytest.mark.parametrize("value", [NAN, INF, -INF])
def test_what_is_not_finite_spoils_its_row(value: float) -> None:
    x, target = draw(5, 9001)
    x[2] = value
    y = cross_entropy(x, target, reduction="none")
    assert y.isnan().tolist() == [False, False, True, False, False]
    assert gradient(x, target, reduction="none")[2].isnan().all()


def test_argmax_is_the_first_of_the_largest() -> None:
    x, target = draw(6, 9001)
    x[0, [8999, 17, 3000, 8200]] = 9.0
    x[1, [1, 0]] = 9.0
    x[2, 8999] = 9.0
    x[3] = -INF
    x[4, 4000] = NAN
    x[5, 8999] = INF
    argmax = cross_entropy(x, target, return_argmax=True)[1]
    assert argmax.tolist() == [17, 0, 8999, 0, 4000, 8999]


@pytest.mark.parametrize("options", [{}, {"z_loss": 0.1, **SMOOTHED}], ids=["plain", "smoothed"])
def test_gradient_over_the_logits(options: dict[str, Any]) -> None:
    x, target = draw(3, 9001)
    wanted = gradient(x, target, **options)
    logits = x.clone().requires_grad_()
    here = logits * 1.0
    y = cross_entropy(here, target, inplace=True, **options)
    assert torch.equal(here, x)
    (got,) = torch.autograd.grad(y, here, retain_graph=True)
    assert torch.equal(got, wanted)
    assert torch.equal(here, wanted)
    assert got.data_ptr() == here.data_ptr()
    with pytest.raises(RuntimeError, match="inplace"):
        y.backward()


def test_over_the_logits_there_is_no_second_derivative() -> None:
    x, target = draw(3, 100)
    leaf = x.requires_grad_()
    y = cross_entropy(leaf * 1.0, target, inplace=True)
    with pytest.raises(NotImplementedError, match="cross_entropy has no second derivative"):
        torch.autograd.grad(y, leaf, create_graph=True)


def test_gradient_over_the_logits_compiles() -> None:
    x, target = draw(3, 100)

    def train(inplace: bool, x: Tensor) -> Any:
        return cross_entropy(x * 2.0, target, inplace=inplace)

    torch._dynamo.reset()
    compiled = torch.compile(partial(train, True), fullgraph=True, backend="aot_eager")
    grads = []
    for function in (partial(train, False), compiled):
        leaf = x.clone().requires_grad_()
        grads += torch.autograd.grad(function(leaf), leaf)
    assert torch.equal(*grads)


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, cross_entropy, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    x, target = draw(12, 33)
    put = testing.BATCHES[layout]
    check((put(x.view(3, 4, 33)), target.view(3, 4)))


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, cross_entropy)


@pytest.mark.parametrize("name", ["policy", "metrics", "pretraining"])
def test_is_a_torch_op_with_options(name: str) -> None:
    options = SETTINGS[name]
    testing.check_torch_op(truth(**options), partial(cross_entropy, **options))


def test_module_is_the_function() -> None:
    x, target = draw(3, 100)
    options = {
        "ignore_index": 0,
        "reduction": "sum",
        "label_smoothing": 0.1,
        "z_loss": 0.2,
        "softcap": 3.0,
        "logit_scale": 2.0,
        "temperature": 0.7,
    }
    module = CrossEntropy(weights(100), **options)
    assert torch.equal(module(x, target), cross_entropy(x, target, weights(100), **options))
    assert torch.equal(CrossEntropy()(x, target), cross_entropy(x, target))
    assert "z_loss=0.2" in repr(module)
    flags = ("return_log_prob", "return_entropy", "return_argmax", "return_accuracy")
    for options in ({flag: True} for flag in flags):
        got, wanted = CrossEntropy(**options)(x, target), cross_entropy(x, target, **options)
        assert len(got) == len(wanted) == 2
        assert torch.equal(got[1], wanted[1])


def test_refuses_other_dtypes() -> None:
    x, target = draw(2, 8)
    with pytest.raises(TypeError, match=r"cross_entropy: input is torch\.float64"):
        cross_entropy(x.double(), target)
    with pytest.raises(TypeError, match=r"target is torch\.float32"):
        cross_entropy(x, target.float())
    with pytest.raises(TypeError, match=r"weight is torch\.float64"):
        cross_entropy(x, target, weights(8).double())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"reduction": "max"}, "reduction is 'max'"),
        ({"label_smoothing": -0.1}, "label_smoothing is -0.1"),
        ({"label_smoothing": 1.1}, "label_smoothing is 1.1"),
        ({"softcap": -1.0}, "softcap is -1.0"),
        ({"temperature": 0.0}, "temperature is 0.0"),
        ({"temperature": NAN}, "temperature is nan"),
        ({"weight": weights(9)}, r"weight has shape \(9,\), expected \(8,\)"),
        ({"weight": weights(8).requires_grad_()}, "weight requires a gradient"),
        ({"weight": weights(8).to("meta")}, "weight is on meta"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"cross_entropy: {message}"):
        cross_entropy(*draw(2, 8), **options)


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, cross_entropy)
    x, target = draw(2, 8)
    with pytest.raises(ValueError, match="target has shape"):
        cross_entropy(x, target[:1])
    with pytest.raises(ValueError, match="last dimension must not be empty"):
        cross_entropy(x[:, :0], target)
    with pytest.raises(ValueError, match="target is on meta"):
        cross_entropy(x, target.to("meta"))


def test_refuses_to_write_over_what_is_not_contiguous() -> None:
    x, target = draw(2, 8)
    with pytest.raises(ValueError, match="not contiguous"):
        cross_entropy(x[:, :4], target, inplace=True)
