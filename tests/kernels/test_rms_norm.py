"""rms_norm against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.rms_norm.spec import SPEC, VARIANTS
from workbench_kernels.rms_norm.wrapper import RmsNorm, rms_norm
from workbench_kernels.spec import OpSpec

WIDE = (2, 17003)  # is read in blocks, the last of them not full
DTYPES = (torch.float32, torch.bfloat16)
SETTINGS: dict[str, dict[str, Any]] = {
    **{name: dict(options) for name, options in VARIANTS.items()},
    "rounded with offset": {"rounding": "before_weight", "offset": 0.7, "eps": 0.1},
}


def draw(rows: int, cols: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    x, weight = testing.draw(SPEC, rows, cols, dtype)
    return x, weight


def named(inputs: Sequence[Tensor]) -> dict[str, Any]:
    return dict(zip(SPEC.tensors, inputs, strict=True))


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, rms_norm, case)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(33, 40), WIDE], ids=str)
@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting(name: str, shape: tuple[int, int], dtype: torch.dtype) -> None:
    testing.check(SPEC, rms_norm, draw(*shape, dtype), parameters=SETTINGS[name])


@pytest.mark.parametrize("shape", [(19, 257), WIDE], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("offset", [0.0, 1.0])
def test_rounds_where_it_is_told_to(
    offset: float, dtype: torch.dtype, shape: tuple[int, int]
) -> None:
    inputs = draw(*shape, dtype)
    for ours, theirs, alike in (
        ("once", "once", True),
        ("before_weight", "before_weight", True),
        ("once", "before_weight", False),
    ):
        got = rms_norm(**named(inputs), offset=offset, rounding=ours)
        expected = SPEC.reference(**named(inputs), offset=offset, rounding=theirs)
        # Sums in another order move few results across a boundary between two numbers.
        assert bool((got == expected).double().mean() > 0.99) is alike


def test_in_float32_all_roundings_are_the_same() -> None:
    inputs = draw(19, 257)
    assert torch.equal(
        rms_norm(**named(inputs)), rms_norm(**named(inputs), rounding="before_weight")
    )


@pytest.mark.parametrize("shape", [(1100, 7), WIDE], ids=str)
@pytest.mark.parametrize("wanted", [("input",), ("weight",)], ids=str)
def test_gives_only_the_gradient_that_is_wanted(
    wanted: tuple[str, ...], shape: tuple[int, int]
) -> None:
    inputs = draw(*shape)
    every = _gradients(inputs, SPEC.tensors)
    found = _gradients(inputs, wanted)
    assert [*found] == [*wanted]
    for name, grad in found.items():
        assert torch.equal(grad, every[name])


def _gradients(inputs: tuple[Tensor, ...], wanted: tuple[str, ...]) -> dict[str, Tensor]:
    leaves = {
        name: t.clone().requires_grad_(name in wanted)
        for name, t in zip(SPEC.tensors, inputs, strict=True)
    }
    rms_norm(**leaves, offset=0.5).square().sum().backward()
    return {name: leaf.grad for name, leaf in leaves.items() if leaf.grad is not None}


@pytest.mark.parametrize("shape", [(17, 100), WIDE], ids=str)
def test_leaves_its_callers_tensors_as_they_were(shape: tuple[int, int]) -> None:
    given = draw(*shape)
    before = [t.clone() for t in given]
    leaves = [t.requires_grad_() for t in given]
    y = rms_norm(**named(leaves), rounding="before_weight", offset=1.0)
    dy = torch.randn_like(y)
    sent = dy.clone()
    torch.autograd.grad(y, leaves, dy)
    for now, was in zip([*given, dy], [*before, sent], strict=True):
        assert torch.equal(now, was)


def test_repeats_bit_for_bit() -> None:
    inputs = draw(1100, 7, torch.bfloat16)
    one, again = (_gradients(inputs, SPEC.tensors) for _ in range(2))
    assert all(torch.equal(one[name], again[name]) for name in one)


def test_takes_no_rows() -> None:
    x, weight = (t.requires_grad_() for t in draw(2, 8))
    y = rms_norm(x[:0], None, weight)
    (dweight,) = torch.autograd.grad(y.sum(), weight)
    assert y.shape == (0, 8)
    assert not dweight.any()


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, rms_norm, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    x, weight = draw(12, 33)
    testing.check(SPEC, rms_norm, (testing.BATCHES[layout](x.view(3, 4, 33)), weight))


def _with(**options: Any) -> OpSpec:
    return replace(SPEC, reference=partial(SPEC.reference, **options))


@pytest.mark.parametrize("name", ["llama", "gemma"])
def test_is_a_torch_op(name: str) -> None:
    options = SETTINGS[name]
    testing.check_torch_op(_with(**options), partial(rms_norm, **options))


def test_is_a_torch_op_without_a_weight() -> None:
    x, _weight = draw(3, 100)
    testing.check_ops("rms_norm", lambda: rms_norm(x.requires_grad_()).sum().backward())
    compiled = torch.compile(rms_norm, fullgraph=True, backend="aot_eager")
    assert torch.equal(compiled(x), rms_norm(x))


def test_has_no_second_derivative() -> None:
    x, weight = (t.requires_grad_() for t in draw(2, 8))
    (dx,) = torch.autograd.grad(rms_norm(x, None, weight).square().sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="rms_norm has no second derivative"):
        dx.sum().backward()


def test_module_is_the_function() -> None:
    x, weight = draw(3, 100, torch.bfloat16)
    options: dict[str, Any] = {"eps": 0.5, "offset": 1.0, "rounding": "before_weight"}
    module = RmsNorm(100, **options).to(x)
    assert not module.weight.any()
    module.load_state_dict({"weight": weight})
    assert torch.equal(module(x), rms_norm(x, None, weight, **options))
    assert "(100,), eps=0.5, elementwise_affine=True, offset=1.0, rounding='before_weight'" in repr(
        module
    )
    assert torch.equal(RmsNorm(100).weight, torch.ones(100))


def test_module_without_a_weight_is_the_function() -> None:
    x, _weight = draw(3, 100)
    module = RmsNorm(100, eps=0.5, elementwise_affine=False)
    assert not [*module.parameters()]
    assert torch.equal(module(x), rms_norm(x, eps=0.5))


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("eps", [1e-5, None])
def test_its_arguments_are_pytorchs(eps: float | None, dtype: torch.dtype) -> None:
    x, weight = draw(3, 100, dtype)
    x = 1e-4 * x  # so that eps matters
    arguments = (x, (100,), weight, eps)
    torch.testing.assert_close(rms_norm(*arguments), F.rms_norm(*arguments))
    torch.testing.assert_close(rms_norm(x, eps=eps), F.rms_norm(x, (100,), eps=eps))
    torch.testing.assert_close(rms_norm(x, 100, weight), rms_norm(x, [100], weight))


@pytest.mark.parametrize("options", [{}, {"eps": 0.5}, {"elementwise_affine": False}], ids=str)
def test_module_takes_what_pytorchs_has(options: dict[str, Any]) -> None:
    x, weight = draw(3, 100)
    theirs = torch.nn.RMSNorm(100, **options).to(x)
    if theirs.weight is not None:
        theirs.weight.data.copy_(weight)
    ours = RmsNorm(100, **{"eps": None, **options}).to(x)
    ours.load_state_dict(theirs.state_dict())
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("transposed", [False, True])
def test_several_dimensions_are_one_row(transposed: bool, dims: int) -> None:
    x, _weight = draw(6, 40)
    x = x.view(2, 3, 5, 8)
    x = x.transpose(0, 3) if transposed else x
    shape = x.shape[-dims:]
    weight = torch.randn_like(x[(0,) * (4 - dims)])
    ours, theirs = ([t.clone().requires_grad_() for t in (x, weight)] for _ in range(2))
    y = rms_norm(ours[0], shape, ours[1], 0.1)
    wanted = F.rms_norm(theirs[0], shape, theirs[1], 0.1)
    torch.testing.assert_close(y, wanted)
    dy = torch.randn_like(y)
    grads = (torch.autograd.grad(a, b, dy) for a, b in ((y, ours), (wanted, theirs)))
    for got, want in zip(*grads, strict=True):
        torch.testing.assert_close(got, want)
    torch.testing.assert_close(rms_norm(x, shape, eps=0.1), F.rms_norm(x, shape, eps=0.1))
    module = RmsNorm(shape, 0.1).to(x)
    module.load_state_dict({"weight": weight})
    assert torch.equal(module(x), y)


@pytest.mark.parametrize("shape", [9, (9,), (2,), (3, 8), (1, 2, 8), ()], ids=str)
def test_refuses_what_is_not_the_shape_of_its_rows(shape: Any) -> None:
    x, weight = draw(2, 8)
    with pytest.raises(ValueError, match=r"rms_norm: normalized_shape is \(.*has shape \(2, 8\)"):
        rms_norm(x, shape)
    with pytest.raises(ValueError, match=r"weight has shape \(8,\), expected \(2, 8\)"):
        rms_norm(x, (2, 8), weight)
    with pytest.raises(ValueError, match="must not be empty"):
        rms_norm(x[:0], (0, 8))
    with pytest.raises(TypeError, match="normalized_shape is a tensor; weight comes after it"):
        rms_norm(x, weight)  # type: ignore[arg-type]


def test_refuses_other_dtypes() -> None:
    x, weight = draw(2, 8)
    with pytest.raises(TypeError, match=r"rms_norm: input is torch\.float64"):
        rms_norm(x.double())
    with pytest.raises(TypeError, match=r"weight is torch\.bfloat16 but"):
        rms_norm(x, None, weight.bfloat16())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"weight": None, "offset": 1.0}, "offset is 1.0, but there is no weight"),
        ({"rounding": "twice"}, "rounding is 'twice'"),
        ({"weight": torch.ones(9)}, r"weight has shape \(9,\), expected \(8,\)"),
        ({"weight": torch.ones(1)}, r"weight has shape \(1,\), expected \(8,\)"),
        ({"input": torch.ones(2, 0)}, "its last dimension must not be empty"),
        ({"input": torch.ones(())}, "its last dimension must not be empty"),
    ],
    ids=lambda given: "" if isinstance(given, dict) else given,
)
def test_refuses_what_does_not_fit(options: dict[str, Any], message: str) -> None:
    x, weight = draw(2, 8)
    moved = {k: v.to(x.device) if isinstance(v, Tensor) else v for k, v in options.items()}
    with pytest.raises(ValueError, match=f"rms_norm: .*{message}"):
        rms_norm(**{"input": x, "weight": weight, **moved})


def test_refuses_other_sizes() -> None:
    testing.check_sizes(SPEC, rms_norm)
