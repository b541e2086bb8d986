"""The bound that every op must keep: right results pass it, results that are a little wrong don't.

Plain torch functions stand in for the op: a softmax and a squared ReLU that work in float32 inside.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from subprocess import run
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench_kernels import bound, testing, truth
from workbench_kernels.spec import OpSpec, Traffic

DTYPES = (torch.float32, torch.bfloat16, torch.float16)


def spec_of(
    reference: Callable[..., Any], tensors: tuple[str, ...] = ("x",), **changes: Any
) -> OpSpec:
    plain = OpSpec(
        name=reference.__name__,
        tier=2,
        reference=reference,
        inputs=lambda rows, cols: tuple(torch.randn(rows, cols) for _ in tensors),
        tensors=tensors,
        differentiable=tensors,
        forward=Traffic(reads=1, writes=1),
        backward=Traffic(reads=2, writes=1),
        shapes=((1, 1), (3, 40), (4, 1023)),
        sweep=((8, 8),),
    )
    return replace(plain, **changes)


def softmax(x: Tensor) -> Tensor:
    return torch.softmax(x, dim=-1)


def relu2(x: Tensor) -> Tensor:
    return torch.relu(x).square()


SOFTMAX, RELU2 = spec_of(softmax), spec_of(relu2)
Change = Callable[[Tensor], Tensor]


def softmax_backward(dy: Tensor, x: Tensor) -> Tensor:
    y = torch.softmax(x, dim=-1)
    return y * (dy - (y * dy).sum(-1, keepdim=True))


def relu2_backward(dy: Tensor, x: Tensor) -> Tensor:
    return dy * 2 * torch.relu(x)


def op(
    forward: Callable[[Tensor], Tensor],
    backward: Callable[[Tensor, Tensor], Tensor],
    *,
    y: Change = lambda t: t,
    dx: Change = lambda t: t,
) -> Callable[..., Any]:
    """An op that computes in float32 like a kernel; `y` and `dx` spoil what it stores."""

    class Op(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return y(forward(x.float()).to(x.dtype))

        @staticmethod
        def backward(ctx: Any, dy: Tensor) -> Tensor:
            (x,) = ctx.saved_tensors
            return dx(backward(dy.float(), x.float()).to(x.dtype))

    return lambda x: Op.apply(x)


def failure(spec: OpSpec, function: Callable[..., Any], case: testing.Case, seed: int = 0) -> str:
    """What `check_case` complains of; nothing if it doesn't."""
    try:
        testing.check_case(spec, function, case, seed)
    except AssertionError as error:
        return str(error)
    return ""


def flip_one(t: Tensor) -> Tensor:
    """The sign of one element of the last row, and not of its largest."""
    flipped = t.clone()
    at = t[-1].abs().sort().indices[-t.shape[-1] // 4]
    flipped[-1, at] = -flipped[-1, at]
    return flipped


def drop_tail(t: Tensor) -> Tensor:
    return torch.cat([t[..., :-1], torch.zeros_like(t[..., -1:])], dim=-1)


def test_arguments_are_passed_by_name() -> None:
    """So the op's come in its own order."""

    def scaled(x: Tensor, weight: Tensor) -> Tensor:
        return x * weight

    def ours(weight: Tensor | None, by: float = 1.0, *, x: Tensor) -> Tensor:
        return by * x if weight is None else by * x * weight

    spec = spec_of(scaled, ("x", "weight"))
    testing.check_case(spec, ours, testing.Case(3, 40, torch.float32))
    with pytest.raises(TypeError, match="unexpected keyword argument 'weight'"):
        testing.check_case(spec, lambda x, w: x * w, testing.Case(3, 40, torch.float32))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("case", testing.cases(SOFTMAX), ids=str)
def test_right_ops_pass(case: testing.Case, seed: int) -> None:
    testing.check_case(SOFTMAX, op(softmax, softmax_backward), case, seed)
    testing.check_case(RELU2, op(relu2, relu2_backward), case, seed)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_softmax_gradient_without_its_correction_fails(dtype: torch.dtype, seed: int) -> None:
    wrong = op(softmax, lambda dy, x: torch.softmax(x, -1) * dy)
    assert "dx at row" in failure(SOFTMAX, wrong, testing.Case(4, 1023, dtype), seed)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("place", ["y", "dx"])
@pytest.mark.parametrize("spoil", [torch.zeros_like, torch.neg, flip_one, drop_tail])
def test_a_spoiled_result_fails(spoil: Change, place: str, dtype: torch.dtype) -> None:
    wrong = op(softmax, softmax_backward, **{place: spoil})
    assert f"{place} " in failure(SOFTMAX, wrong, testing.Case(3, 40, dtype))


def test_float32_through_bfloat16_fails() -> None:
    wrong = op(relu2, relu2_backward, y=lambda t: t.bfloat16().to(t.dtype))
    assert "y at row" in failure(RELU2, wrong, testing.Case(3, 40, torch.float32))


def test_a_sum_accumulated_in_bfloat16_fails() -> None:
    def total(x: Tensor) -> Tensor:
        return x.sum(-1)

    def in_bfloat16(x: Tensor) -> Tensor:
        sums = torch.zeros_like(x[..., 0])
        for column in x.unbind(-1):
            sums = sums + column
        return sums

    spec = spec_of(total, inputs=lambda rows, cols: (torch.rand(rows, cols),))
    assert "y at row" in failure(spec, in_bfloat16, testing.Case(4, 1023, torch.bfloat16))


def test_a_missing_gradient_fails() -> None:
    error = failure(RELU2, lambda x: relu2(x.detach()), testing.Case(3, 40, torch.float32))
    assert error == "relu2: dx is missing"


@pytest.mark.parametrize("change", [torch.Tensor.double, lambda t: t[:1]])
def test_another_dtype_or_shape_fails(change: Change) -> None:
    case = testing.Case(3, 40, torch.float32)
    assert "expected torch.float32 (3, 40)" in failure(RELU2, lambda x: change(relu2(x)), case)


def test_zeros_pass_where_the_truth_is_zero() -> None:
    x = -torch.rand(3, 40)
    testing.check(RELU2, op(relu2, relu2_backward, y=torch.zeros_like, dx=torch.zeros_like), [x])


def compared(got: list[float], eager: list[float], exact: list[float], dtype: torch.dtype) -> str:
    value, eager_value = (torch.tensor(v, dtype=dtype) for v in (got, eager))
    true_value = torch.tensor(exact, dtype=torch.float64)
    slack = (eager_value - true_value).abs().nan_to_num(0.0, posinf=0.0)
    return bound.compare_one("y", value, eager_value, true_value, slack).message


INF, NAN = float("inf"), float("nan")


@pytest.mark.parametrize(
    ("got", "eager", "exact", "passes"),
    [
        ([NAN, 1], [NAN, 1], [NAN, 1], True),
        ([0, 1], [NAN, 1], [NAN, 1], False),
        ([NAN, 1], [1, 1], [1, 1], False),
        ([INF, 1], [INF, 1], [INF, 1], True),
        ([-INF, 1], [INF, 1], [INF, 1], False),
        ([65504, 1], [INF, 1], [INF, 1], False),
        ([300, 1], [INF, 1], [300, 1], True),  # eager overflowed on the way, the op did not
        ([200, 1], [INF, 1], [300, 1], False),
        ([NAN, 1], [INF, 1], [300, 1], True),  # both failed on the way
        ([INF, 1], [INF, 1], [1e9, 1], True),
        ([65504, 1], [INF, 1], [1e9, 1], False),
        ([65504, 1], [INF, 1], [65521, 1], True),  # at the brink overflow is rounding
        ([INF, 1], [65504, 1], [65519, 1], True),
    ],
)
def test_nan_and_infinity(
    got: list[float], eager: list[float], exact: list[float], passes: bool
) -> None:
    assert (compared(got, eager, exact, torch.float16) == "") is passes


def test_an_infinity_hides_no_error_beside_it() -> None:
    assert compared([INF, 2], [INF, 1], [INF, 1], torch.float32)


def test_the_truth_stays_in_float64_where_the_reference_asks_for_float32() -> None:
    def careful(x: Tensor) -> Tensor:
        return x.float().exp().sum(-1, dtype=torch.float32).to(x.dtype)

    x = torch.randn(3, 40)
    expected = truth.expect(spec_of(careful), [x])
    assert expected.eager["y"].dtype is torch.float32
    torch.testing.assert_close(expected.truth["y"], x.double().exp().sum(-1), rtol=1e-15, atol=0)
    torch.testing.assert_close(
        expected.truth["dx"],
        x.double().exp() * expected.upstream[0].double()[:, None],
        rtol=1e-15,
        atol=0,
    )


def test_draw_repeats_and_leaves_the_generator_alone() -> None:
    torch.manual_seed(7)
    untouched = torch.rand(3)
    torch.manual_seed(7)
    first, again, other = (
        testing.draw(SOFTMAX, 3, 40, torch.bfloat16, seed)[0] for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert first.dtype is torch.bfloat16
    assert torch.equal(torch.rand(3), untouched)


def test_cases_read_well_and_move_every_parameter() -> None:
    spec = spec_of(relu2, parameters={"eps": 1.0})
    names = [str(case) for case in testing.cases(spec)]
    assert names[:3] == ["1x1-float32", "1x1-bfloat16", "1x1-float16"]
    assert names[-2:] == ["3x40-float32-eps=0.5", "3x40-float32-eps=1.75"]


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_layouts_keep_values_and_poison_the_gaps(layout: str) -> None:
    x = torch.randn(3, 40)
    put = testing.LAYOUTS[layout](x)
    assert torch.equal(put, x[:1].expand(3, 40) if layout == "expanded" else x)
    assert put.storage_offset() % 4 or not put.is_contiguous()
    testing.check_layout(RELU2, relu2, layout)


@pytest.mark.parametrize("layout", ["transposed", "every_other_column", "slice_of_wider_rows"])
def test_ignoring_strides_fails(layout: str) -> None:
    def ignores_strides(x: Tensor) -> Tensor:
        return relu2(torch.as_strided(x, x.shape, (x.shape[-1], 1), x.storage_offset()))

    with pytest.raises(AssertionError):
        testing.check_layout(RELU2, ignores_strides, layout)


@pytest.mark.parametrize(("strides", "sound"), [((40, 1), True), ((1, 3), False)])
def test_a_fake_must_say_how_results_lie(strides: tuple[int, int], sound: bool) -> None:
    library = torch.library.Library("workbench_tests", "FRAGMENT")
    library.define("lies(Tensor x) -> Tensor", tags=torch.Tag.needs_fixed_stride_order)
    library.impl("lies", lambda x: x.clone(memory_format=torch.contiguous_format), "CPU")

    def fake(x: Tensor) -> Tensor:
        return x.new_empty_strided(x.shape, strides)

    torch.library.register_fake("workbench_tests::lies", fake, lib=library)
    x = torch.randn(40, 3).mT
    op, call = torch.ops.workbench_tests.lies.default, torch.ops.workbench_tests.lies
    context = nullcontext() if sound else pytest.raises(Exception, match=r"(?i)stride")
    with context:
        testing.check_ops("lies", lambda: call(x), ["test_faketensor"])
    context = (
        nullcontext() if sound else pytest.raises(AssertionError, match=r"says strides \(1, 3\)")
    )
    with context:  # on a CPU opcheck does not look at strides before torch 2.13
        testing._check_fake_strides(op, (x,), {})


@pytest.mark.parametrize("added", [None, torch.addmm])
def test_a_product_is_not_rounded_once_only(added: Callable[..., Tensor] | None) -> None:
    """Its sum is rounded as it grows: what a product in float32 loses is within what it might."""
    rows, hidden, cols = 400, 600, 24

    def product(x: Tensor, weight: Tensor) -> Tensor:
        return x @ weight.t() if added is None else added(weight[:, 0], x, weight.t())

    torch.manual_seed(1)
    x, weight = torch.randn(rows, hidden), torch.randn(cols, hidden)
    expected = testing.expect(spec_of(product, ("x", "weight")), (x, weight))
    lost, might = (found["y"].norm() for found in (expected.error, expected.worst_error))
    once = torch.finfo(torch.float32).eps / 2 * expected.truth["y"].norm()
    assert once < lost < might < 4 * lost


def _might_be_off(reference: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
    """The largest error of y that PyTorch might make, of inputs named x, weight ..."""
    spec = spec_of(reference, ("x", "weight")[: len(inputs)])
    return testing.expect(spec, inputs).worst_error["y"].abs().max()


@pytest.mark.parametrize("moved", [lambda t: t, lambda t: t.reshape(-1, 1).squeeze(1)])
def test_a_product_in_a_sum_may_not_be_rounded(moved: Callable[[Tensor], Tensor]) -> None:
    """Of a product less itself PyTorch makes 0; where a product and a sum are one instruction, what
    the other product lost is left: in float32, in which kernels compute 16 bits too.
    """
    torch.manual_seed(1)
    x, weight = torch.randn(50), torch.randn(50)

    def nothing(x: Tensor, weight: Tensor) -> Tensor:
        product = x * weight
        return moved(product) - product

    half_an_ulp = torch.finfo(torch.float32).eps / 2 * (x * weight).abs().max()
    # Of small numbers it is less than float16 has, before something multiplies it again.
    for dtype, scale in ((torch.float32, 1.0), (torch.bfloat16, 1.0), (torch.float16, 2.0**-6)):
        off = _might_be_off(nothing, (scale * x).to(dtype), (scale * weight).to(dtype))
        assert 0.3 * half_an_ulp < off / scale**2 < 2.5 * half_an_ulp  # of each


def test_exponentials_are_approximate() -> None:
    """By two eps in float32, and by no more than their rounding in 16 bits."""
    torch.manual_seed(1)
    x = torch.randn(1000)
    for dtype, least, most in ((torch.float32, 1.5, 2.6), (torch.bfloat16, 0.5, 1.1)):
        eps = torch.finfo(dtype).eps
        off = testing.expect(spec_of(torch.exp), (x.to(dtype),)).worst_error["y"]
        assert least * eps < (off / x.double().exp()).max() < most * eps


def test_softmax_is_taken_apart() -> None:
    """Into steps which each round: a row's sum of 1000 is off, and so is what it divides."""
    x = torch.zeros(1, 1000)
    assert _might_be_off(lambda x: torch.log_softmax(x * 1.1, -1), x) > 1e-7


def test_a_truth_takes_no_compiler() -> None:
    """Importing it takes a second or more, and each op that is judged has a process for this."""
    script = (
        "import sys, torch\n"
        "from workbench_kernels.softmax.spec import SPEC\n"
        "from workbench_kernels import testing, truth\n"
        "found = truth.expect(SPEC, testing.draw(SPEC, 2, 8, torch.bfloat16))\n"
        "assert found.truth and found.find_worst()\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    run([sys.executable, "-c", script], check=True)
