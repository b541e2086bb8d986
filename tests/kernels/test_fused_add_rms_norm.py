"""fused_add_rms_norm against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.fused_add_rms_norm.spec import SPEC, VARIANTS
from workbench_kernels.fused_add_rms_norm.wrapper import FusedAddRmsNorm, fused_add_rms_norm
from workbench_kernels.spec import OpSpec

WIDE = (2, 17003)  # is read in blocks, the last of them not full
PIECES = (3, 300)  # is held in three pieces, the last of them not full
DTYPES = (torch.float32, torch.bfloat16)
SETTINGS: dict[str, dict[str, Any]] = {
    **{name: dict(options) for name, options in VARIANTS.items()},
    "rounded with offset": {"rounding": "before_weight", "offset": 0.7, "eps": 0.1},
}


def draw(rows: int, cols: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    return testing.draw(SPEC, rows, cols, dtype)


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, fused_add_rms_norm, case)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(33, 40), PIECES, WIDE], ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting(name: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    testing.check(SPEC, fused_add_rms_norm, draw(*shape, dtype), parameters=SETTINGS[name])


@pytest.mark.parametrize("shape", [(19, 257), WIDE], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_sum_is_rounded_before_it_is_normalised(
    dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    x, residual, weight = draw(*shape, dtype)
    y, s = fused_add_rms_norm(x, residual, weight)
    assert torch.equal(s, x + residual)
    unrounded = x.float() + residual.float()
    rstd = torch.rsqrt(unrounded.square().mean(-1, keepdim=True) + 1e-6)
    expected = SPEC.reference(x, residual, weight)[0]
    # Sums in another order move few results across a boundary between two numbers.
    assert (y == expected).double().mean() > 0.99
    assert (y == (unrounded * rstd * weight.float()).to(dtype)).double().mean() < 0.9


@pytest.mark.parametrize("shape", [(19, 257), WIDE], ids=str)
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_rounds_where_it_is_told_to(offset: float, shape: tuple[int, int]) -> None:
    inputs = draw(*shape, torch.bfloat16)
    for ours, theirs, alike in (
        ("once", "once", True),
        ("before_weight", "before_weight", True),
        ("once", "before_weight", False),
    ):
        got, _s = fused_add_rms_norm(*inputs, offset=offset, rounding=ours)
        expected, _s = SPEC.reference(*inputs, offset=offset, rounding=theirs)
        assert bool((got == expected).double().mean() > 0.99) is alike


@pytest.mark.parametrize("shape", [(40, 7), WIDE], ids=str)
@pytest.mark.parametrize("wanted", [("x",), ("residual",), ("weight",)], ids=str)
def test_gives_only_the_gradient_that_is_wanted(
    wanted: tuple[str, ...], shape: tuple[int, int]
) -> None:
    inputs = draw(*shape)
    every = _gradients(inputs, SPEC.differentiable)
    found = _gradients(inputs, wanted)
    assert [*found] == [*wanted]
    for name, grad in found.items():
        testing.assert_same(grad, every[name])


def _gradients(inputs: tuple[Tensor, ...], wanted: tuple[str, ...]) -> dict[str, Tensor]:
    leaves = {
        name: t.clone().requires_grad_(name in wanted)
        for name, t in zip(SPEC.tensors, inputs, strict=True)
    }
    y, s = fused_add_rms_norm(**leaves, offset=0.5)
    (y.square().sum() + s.sin().sum()).backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize("shape", [PIECES, WIDE], ids=str)
def test_takes_a_gradient_of_either_output_alone(shape: tuple[int, int]) -> None:
    x, residual, weight = (t.requires_grad_() for t in draw(*shape))
    y, s = fused_add_rms_norm(x, residual, weight)
    dy = torch.randn_like(y)
    for only, expected in ((s, dy), (y, None)):
        leaves = (x, residual) if only is s else (x, residual, weight)
        got = torch.autograd.grad(only, leaves, dy, retain_graph=True)
        if expected is None:
            reference = SPEC.reference(x, residual, weight)[0]
            expected = torch.autograd.grad(reference, x, dy)[0]
        assert torch.equal(got[0], got[1])
        torch.testing.assert_close(got[0], expected)


@pytest.mark.parametrize("shape", [(17, 100), WIDE], ids=str)
def test_leaves_its_callers_tensors_as_they_were(shape: tuple[int, int]) -> None:
    given = draw(*shape)
    before = [t.clone() for t in given]
    leaves = [t.requires_grad_() for t in given]
    outputs = fused_add_rms_norm(*leaves, rounding="before_weight", offset=1.0)
    sent = [torch.randn_like(y) for y in outputs]
    kept = [dy.clone() for dy in sent]
    torch.autograd.grad(outputs, leaves, sent)
    for now, was in zip([*given, *sent], [*before, *kept], strict=True):
        assert torch.equal(now, was)


def test_repeats_bit_for_bit() -> None:
    inputs = draw(300, 7, torch.bfloat16)
    one, again = (_gradients(inputs, SPEC.differentiable) for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_takes_no_rows() -> None:
    x, residual, weight = (t.requires_grad_() for t in draw(2, 8))
    y, s = fused_add_rms_norm(x[:0], residual[:0], weight)
    (dweight,) = torch.autograd.grad(y.sum(), weight)
    assert y.shape == s.shape == (0, 8)
    assert not dweight.any()


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, fused_add_rms_norm, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    x, residual, weight = draw(12, 33)
    put = testing.BATCHES[layout]
    inputs = put(x.view(3, 4, 33)), put(residual.view(3, 4, 33)), weight
    testing.check(SPEC, fused_add_rms_norm, inputs)


def _with(**options: Any) -> OpSpec:
    return replace(SPEC, reference=partial(SPEC.reference, **options))


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_is_a_torch_op(name: str) -> None:
    options = SETTINGS[name]
    testing.check_torch_op(_with(**options), partial(fused_add_rms_norm, **options))


def test_is_a_torch_op_without_a_weight() -> None:
    x, residual, _weight = draw(3, 100)
    x.requires_grad_()
    testing.check_ops("fused_add_rms_norm", lambda: fused_add_rms_norm(x, residual)[0].sum())
    compiled = torch.compile(fused_add_rms_norm, fullgraph=True, backend="aot_eager")
    for given, wanted in zip(compiled(x, residual), fused_add_rms_norm(x, residual), strict=True):
        assert torch.equal(given, wanted)


def test_has_no_second_derivative() -> None:
    x, residual, weight = (t.requires_grad_() for t in draw(2, 8))
    y, _s = fused_add_rms_norm(x, residual, weight)
    (dx,) = torch.autograd.grad(y.square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="fused_add_rms_norm has no second derivative"):
        dx.sum().backward()


def test_module_is_the_function() -> None:
    x, residual, weight = draw(3, 100, torch.bfloat16)
    options: dict[str, Any] = {"eps": 0.5, "offset": 1.0, "rounding": "before_weight"}
    module = FusedAddRmsNorm(100, **options).to(x)
    assert not module.weight.any()
    module.load_state_dict({"weight": weight})
    wanted = fused_add_rms_norm(x, residual, weight, **options)
    assert all(torch.equal(y, w) for y, w in zip(module(x, residual), wanted, strict=True))
    assert "100, eps=0.5, offset=1.0, rounding='before_weight'" in repr(module)
    assert torch.equal(FusedAddRmsNorm(100).weight, torch.ones(100))


def test_module_without_a_weight_is_the_function() -> None:
    x, residual, _weight = draw(3, 100)
    module = FusedAddRmsNorm(100, eps=0.5, weighted=False)
    assert not [*module.parameters()]
    wanted = fused_add_rms_norm(x, residual, eps=0.5)
    assert all(torch.equal(y, w) for y, w in zip(module(x, residual), wanted, strict=True))


def test_refuses_other_dtypes() -> None:
    x, residual, weight = draw(2, 8)
    with pytest.raises(TypeError, match=r"fused_add_rms_norm: x is torch\.float64"):
        fused_add_rms_norm(x.double(), residual.double())
    with pytest.raises(TypeError, match=r"residual is torch\.float32 but x is torch\.bfloat16"):
        fused_add_rms_norm(x.bfloat16(), residual)
    with pytest.raises(TypeError, match=r"weight is torch\.bfloat16 but"):
        fused_add_rms_norm(x, residual, weight.bfloat16())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": None, "offset": 1.0}, "offset is 1.0, but there is no weight"),
        ({"rounding": "twice"}, "rounding is 'twice'"),
        ({"weight": torch.ones(9)}, r"weight has shape \(9,\), expected \(8,\)"),
        ({"weight": torch.ones(1)}, r"weight has shape \(1,\), expected \(8,\)"),
        ({"residual": torch.ones(1, 8)}, r"residual has shape \(1, 8\), expected \(2, 8\)"),
        ({"x": torch.ones(2, 0)}, "its last dimension must not be empty"),
        ({"x": torch.ones(())}, "its last dimension must not be empty"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    x, residual, weight = draw(2, 8)
    moved = {k: v.to(x.device) if isinstance(v, Tensor) else v for k, v in options.items()}
    with pytest.raises(ValueError, match=f"fused_add_rms_norm: .*{message}"):
        fused_add_rms_norm(**{"x": x, "residual": residual, "weight": weight, **moved})


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, fused_add_rms_norm)
