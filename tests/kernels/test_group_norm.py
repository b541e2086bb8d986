"""group_norm against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.group_norm.spec import SPEC
from workbench_kernels.group_norm.wrapper import GroupNorm, group_norm

# What a program holds: a whole group, some of its channels and fewer at last, one, part of one.
SHAPES = [(2, 12, 3), (3, 4, 5, 7), (2, 30, 2000), (2, 6, 9000), (2, 2, 20000), (2, 10)]


def draw(*shape: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, ...]:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator)
    weight, bias = (torch.randn(shape[1], generator=generator) for _ in range(2))
    x, weight, bias = (t.to(testing.device(), dtype) for t in (x, weight, bias))
    return x, weight, bias


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, group_norm, case)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("num_groups", [1, 2])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_takes_any_dimensions(shape: tuple[int, ...], num_groups: int, dtype: torch.dtype) -> None:
    inputs = draw(*shape, dtype=dtype)
    testing.check(SPEC, group_norm, inputs, parameters={"num_groups": num_groups})


def test_every_channel_can_be_a_group() -> None:
    inputs = draw(2, 6, 50)
    testing.check(SPEC, group_norm, inputs, parameters={"num_groups": 6})
    x, weight, bias = draw(2, 6)  # nothing is left of one value but the bias
    assert torch.equal(group_norm(x, 6, weight, bias), bias.expand(2, 6))


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_an_infinite_parameter_makes_what_it_makes_in_pytorch(name: str) -> None:
    x, weight, bias = draw(3, 6, 5)
    (weight if name == "weight" else bias)[2] = float("inf")
    expected = SPEC.reference(x, 3, weight, bias)
    torch.testing.assert_close(group_norm(x, 3, weight, bias), expected, equal_nan=True)


@pytest.mark.parametrize("shape", [(2, 30, 2000), (2, 6, 9000), (3, 8, 33)], ids=str)
def test_is_what_pytorch_computes_far_from_zero(shape: tuple[int, ...]) -> None:
    x, weight, bias = draw(*shape)
    testing.check(SPEC, group_norm, (x + 1000.0, weight, bias), parameters={"num_groups": 2})


@pytest.mark.parametrize("wanted", [("input",), ("weight",), ("bias",), ("input", "bias")], ids=str)
def test_gives_only_the_gradient_that_is_wanted(wanted: tuple[str, ...]) -> None:
    inputs = draw(3, 4, 35)
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
    group_norm(**leaves, num_groups=2).sin().sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


def test_leaves_its_callers_tensors_as_they_were() -> None:
    given = draw(3, 4, 35)
    before = [t.clone() for t in given]
    leaves = [t.requires_grad_() for t in given]
    y = group_norm(leaves[0], 2, *leaves[1:])
    dy = torch.randn_like(y)
    sent = dy.clone()
    torch.autograd.grad(y, leaves, dy)
    for now, was in zip([*given, dy], [*before, sent], strict=True):
        assert torch.equal(now, was)


def test_repeats_bit_for_bit() -> None:
    inputs = draw(5, 8, 7, dtype=torch.bfloat16)
    one, again = (_gradients(inputs, SPEC.differentiable) for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_takes_no_images() -> None:
    x, weight, bias = (t.requires_grad_() for t in draw(2, 8, 5))
    y = group_norm(x[:0], 4, weight, bias)
    grads = torch.autograd.grad(y.sum(), (weight, bias))
    assert y.shape == (0, 8, 5)
    assert not any(grad.any() for grad in grads)


def test_adds_up_what_more_images_give_than_a_program_adds() -> None:
    testing.check(SPEC, group_norm, draw(1030, 2, 3))


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, group_norm, layout)


def test_takes_channels_last() -> None:
    x, weight, bias = draw(2, 6, 4, 5)
    put = x.to(memory_format=torch.channels_last)
    assert torch.equal(group_norm(put, 3, weight, bias), group_norm(x, 3, weight, bias))


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, group_norm)


@pytest.mark.parametrize("biased", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
def test_is_a_torch_op_without_parameters(weighted: bool, biased: bool) -> None:
    x, *given = draw(3, 4, 5, 7)
    x.requires_grad_()
    parameters = [p if there else None for p, there in zip(given, (weighted, biased), strict=True)]
    testing.check_ops("group_norm", lambda: group_norm(x, 2, *parameters).sum().backward())
    compiled = torch.compile(group_norm, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x, 2, *parameters), group_norm(x, 2, *parameters))


def test_has_no_second_derivative() -> None:
    x, weight, bias = (t.requires_grad_() for t in draw(2, 8, 3))
    (dx,) = torch.autograd.grad(group_norm(x, 1, weight, bias).sin().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="group_norm has no second derivative"):
        dx.sum().backward()


@pytest.mark.parametrize("options", [{"eps": 0.5}, {"affine": False}], ids=str)
def test_module_takes_what_pytorchs_has(options: dict[str, Any]) -> None:
    x, weight, bias = draw(3, 6, 5, 7)
    theirs = torch.nn.GroupNorm(3, 6, **options).to(x)
    ours = GroupNorm(3, 6, **options).to(x)
    torch.testing.assert_close(ours(x), theirs(x))  # they begin alike
    for mine, drawn in ((theirs.weight, weight), (theirs.bias, bias)):
        if mine is not None:
            mine.data.copy_(drawn)
    ours.load_state_dict(theirs.state_dict())
    assert torch.equal(ours(x), group_norm(x, 3, theirs.weight, theirs.bias, theirs.eps))
    torch.testing.assert_close(ours(x), theirs(x))
    assert f"3, 6, eps={theirs.eps}, affine={theirs.affine}" in repr(ours)


def test_its_arguments_are_pytorchs() -> None:
    x, weight, bias = draw(3, 6, 5)
    arguments = (x, 3, weight, bias, 0.1)
    torch.testing.assert_close(group_norm(*arguments), F.group_norm(*arguments))
    torch.testing.assert_close(group_norm(x, 2), F.group_norm(x, 2))


def test_refuses_other_dtypes() -> None:
    x, weight, bias = draw(2, 8, 3)
    with pytest.raises(TypeError, match=r"group_norm: input is torch\.float64"):
        group_norm(x.double())
    with pytest.raises(TypeError, match=r"weight is torch\.bfloat16 but input is torch\.float32"):
        group_norm(x, 1, weight.bfloat16(), bias)
    with pytest.raises(TypeError, match=r"bias is torch\.bfloat16 but input is torch\.float32"):
        group_norm(x, 1, weight, bias.bfloat16())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": torch.ones(9)}, r"weight has shape \(9,\), expected \(8,\)"),
        ({"bias": torch.ones(1)}, r"bias has shape \(1,\), expected \(8,\)"),
        ({"num_groups": 3}, "num_groups is 3, which does not divide 8 channels"),
        ({"num_groups": 0}, "num_groups is 0, which does not divide 8 channels"),
        ({"input": torch.ones(2, 8, 0)}, "it must have channels and positions"),
        ({"input": torch.ones(8)}, "it must have channels and positions"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    x, weight, bias = draw(2, 8, 3)
    moved = {k: v.to(x.device) if isinstance(v, Tensor) else v for k, v in options.items()}
    with pytest.raises(ValueError, match=f"group_norm: .*{message}"):
        group_norm(**{"input": x, "weight": weight, "bias": bias, **moved})


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, group_norm)
