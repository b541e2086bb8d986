"""sparsemax against its reference in float64, as near as PyTorch in the same dtype is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from workbench_kernels import testing
from workbench_kernels.sparsemax.spec import SPEC
from workbench_kernels.sparsemax.wrapper import Sparsemax, sparsemax

NAN, INF = float("nan"), float("inf")
# Held whole, and folded: of a row of the second, columns 16384 apart share a lane.
WIDTHS = (1000, 33000)


def draw(rows: int, cols: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return testing.draw(SPEC, rows, cols, dtype)[0]


def gradient(x: Tensor, dy: Tensor) -> Tensor:
    leaf = x.clone().requires_grad_()
    return torch.autograd.grad(sparsemax(leaf), leaf, dy)[0]


@pytest.mark.parametrize("case", testing.cases(SPEC), ids=str)
def test_matches_the_reference(case: testing.Case) -> None:
    testing.check_case(SPEC, sparsemax, case)


@pytest.mark.parametrize("scale", [1e-3, 0.1, 10.0])
def test_supports_of_any_size(scale: float) -> None:
    """From every column to one of them."""
    testing.check(SPEC, sparsemax, (scale * draw(3, 1000),))


def test_the_largest_share_a_lane() -> None:
    x = draw(3, 33000)
    x[0, [17, 16401, 32785]] = torch.tensor([9.0, 8.9, 8.8], device=x.device)
    x[1, ::16384] = 9.0
    x[2, 5::16384] = torch.tensor([9.0, 7.9, 8.5], device=x.device)
    testing.check(SPEC, sparsemax, (x,))
    y = sparsemax(x)
    assert [int((row > 0).sum()) for row in y] == [3, 3, 2]


@pytest.mark.parametrize("cols", WIDTHS)
def test_all_alike(cols: int) -> None:
    x = torch.full((3, cols), 7.0, device=testing.device())
    y = sparsemax(x)
    torch.testing.assert_close(y, torch.full_like(y, 1.0 / cols), rtol=1e-6, atol=0)
    dy = draw(3, cols)
    wanted = dy - dy.double().mean(-1, keepdim=True).float()
    torch.testing.assert_close(gradient(x, dy), wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cols", WIDTHS)
def test_is_a_projection(cols: int) -> None:
    """What lies on the simplex stays where it is, also when it is moved by a number."""
    y = sparsemax(draw(3, cols))
    torch.testing.assert_close(y.double().sum(-1), torch.ones(3).double().to(y.device))
    torch.testing.assert_close(sparsemax(y), y, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(sparsemax(y + 2.0), y, rtol=1e-5, atol=1e-6)
    dx = gradient(draw(3, cols), draw(3, cols))
    assert torch.equal(dx != 0, y > 0)
    torch.testing.assert_close(dx.sum(-1), torch.zeros(3).to(dx.device), rtol=0, atol=1e-5)


@pytest.mark.parametrize("cols", WIDTHS)
def test_at_the_threshold(cols: int) -> None:
    """One that is exactly at τ has nothing, and no gradient."""
    x = torch.full((1, cols), -5.0, device=testing.device())
    x[0, 3], x[0, 4] = 1.0, 0.0
    dy = draw(1, cols)
    wanted = torch.zeros_like(x)
    wanted[0, 3] = 1.0
    assert torch.equal(sparsemax(x), wanted)
    assert not gradient(x, dy).any()


@pytest.mark.parametrize("cols", WIDTHS)
def test_what_is_not_finite(cols: int) -> None:
    x = draw(5, cols)
    x[0, 70] = NAN
    x[1, 70] = INF
    x[2] = -INF
    x[3, 1:] = -INF
    y, dx = sparsemax(x), gradient(x, draw(5, cols))
    assert y[:3].isnan().all() and not dx[:3].any()
    assert y[3, 0] == 1.0 and not y[3, 1:].any() and not dx[3].any()
    assert y[4].isfinite().all() and dx[4].any()


@pytest.mark.parametrize("layout", testing.LAYOUTS)
def test_takes_any_layout(layout: str) -> None:
    testing.check_layout(SPEC, sparsemax, layout)


@pytest.mark.parametrize("layout", testing.BATCHES)
def test_takes_batches_anyhow(layout: str) -> None:
    put = testing.BATCHES[layout]
    testing.check(SPEC, sparsemax, (put(draw(12, 33).view(3, 4, 33)),), layout=put)


def test_no_rows() -> None:
    x = draw(0, 100)
    assert sparsemax(x).shape == gradient(x, x).shape == (0, 100)


def test_is_a_torch_op() -> None:
    testing.check_torch_op(SPEC, sparsemax)


def test_module_is_the_function() -> None:
    x = draw(3, 100)
    assert torch.equal(Sparsemax()(x), sparsemax(x))


def test_refuses() -> None:
    x = draw(2, 8)
    with pytest.raises(TypeError, match=r"sparsemax: x is torch\.float64"):
        sparsemax(x.double())
    with pytest.raises(ValueError, match="last dimension must not be empty"):
        sparsemax(x[:, :0])
