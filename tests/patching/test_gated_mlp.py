"""A gated MLP as one node: the same numbers, less kept, less computed again; else as modules."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import checkpoint

from workbench_kernels import testing
from workbench_kernels.patching import patch
from workbench_kernels.patching.proof import prove
from workbench_kernels.patching.verdicts import Verdicts

HIDDEN, INNER, ROWS = 16, 24, 10


class _Two(nn.Module):
    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(HIDDEN, INNER, bias)
        self.up_proj = nn.Linear(HIDDEN, INNER, bias)
        self.down_proj = nn.Linear(INNER, HIDDEN, bias)
        self.act = nn.SiLU()

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.down_proj(self.act(self.gate_proj(x)) * self.up_proj(x))
        return y


class _UpFirst(_Two):
    def forward(self, x: Tensor) -> Tensor:
        up = self.up_proj(x)
        y: Tensor = self.down_proj(up * F.gelu(self.gate_proj(x)))
        return y


class _Joined(nn.Module):
    def __init__(self, bias: bool = False) -> None:
        super().__init__()
        self.gate_up_proj = nn.Linear(HIDDEN, 2 * INNER, bias)
        self.down_proj = nn.Linear(INNER, HIDDEN, bias)

    def forward(self, x: Tensor) -> Tensor:
        gate, up = self.gate_up_proj(x).chunk(2, -1)
        y: Tensor = self.down_proj(F.silu(gate) * up)
        return y


class _Interleaved(_Joined):
    def forward(self, x: Tensor) -> Tensor:
        both = self.gate_up_proj(x)
        gate, up = both[..., ::2].clamp(max=7.0), both[..., 1::2].clamp(-7.0, 7.0)
        y: Tensor = self.down_proj(gate * torch.sigmoid(1.702 * gate) * (up + 1))
        return y


class _UpHalfFirst(_Joined):
    def forward(self, x: Tensor) -> Tensor:
        up, gate = self.gate_up_proj(x).chunk(2, -1)
        y: Tensor = self.down_proj(F.silu(gate) * up)
        return y


def _pair(
    kind: type[nn.Module] = _Two, dtype: torch.dtype = torch.bfloat16, **settings: Any
) -> tuple[nn.Module, nn.Module]:
    """The module as it is, and served; with weights that give numbers of about 5."""
    torch.manual_seed(0)
    plain = kind(**settings)
    for parameter in plain.parameters():
        nn.init.normal_(parameter, std=5.0 / HIDDEN**0.5)
    plain.to(testing.device(), dtype)
    served = copy.deepcopy(plain)
    assert not patch(served, verdicts=Verdicts()).left
    return plain, served


def _x(dtype: torch.dtype = torch.bfloat16) -> Tensor:
    torch.manual_seed(1)
    return torch.randn(2, ROWS // 2, HIDDEN).to(testing.device(), dtype).requires_grad_()


def _is_node(y: Tensor) -> bool:
    return type(y.grad_fn).__name__ == "_LastBackward"


def _gradients(module: nn.Module, x: Tensor, y: Tensor) -> dict[str, Tensor]:
    """Those that are wanted, of x and by name."""
    named = {"x": x, **dict(module.named_parameters())}
    wanted = {name: t for name, t in named.items() if t.requires_grad}
    torch.manual_seed(2)
    dy = torch.randn(y.shape).to(y)
    return dict(zip(wanted, torch.autograd.grad(y, list(wanted.values()), dy), strict=True))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("kind", [_Two, _UpFirst, _Joined, _Interleaved])
def test_is_as_right_as_its_modules(kind: type[nn.Module], bias: bool, dtype: torch.dtype) -> None:
    plain, served = _pair(kind, dtype, bias=bias)
    assert _is_node(served(_x(dtype)))

    def call(module: nn.Module, x: Tensor, parameters: dict[str, Tensor]) -> Tensor:
        y: Tensor = torch.func.functional_call(module, parameters, (x,))
        return y

    found = prove(
        lambda x, **parameters: call(plain, x, parameters),
        lambda x, **parameters: call(served, x, parameters),
        {"x": _x(dtype).detach(), **{n: p.detach() for n, p in plain.named_parameters()}},
    )
    assert not found.wrong


@pytest.mark.parametrize("kept", ["x", "gate_proj", "up_proj", "down_proj"])
def test_gives_the_gradients_that_are_wanted(kept: str) -> None:
    plain, served = _pair(dtype=torch.float32, bias=True)
    given = []
    for module in (plain, served):
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name.startswith(kept))
        x = _x(torch.float32).requires_grad_(kept == "x")
        given.append(_gradients(module, x, module(x)))
    theirs, ours = given
    assert theirs.keys() == ours.keys() != set()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("kind", [_Two, _Joined, _Interleaved])
def test_a_graph_that_is_kept_can_be_gone_through_again(kind: type[nn.Module]) -> None:
    _, served = _pair(kind)
    x = _x()
    y = served(x)
    leaves = [x, *served.parameters()]
    first = torch.autograd.grad(y, leaves, torch.ones_like(y), retain_graph=True)
    second = torch.autograd.grad(y, leaves, torch.ones_like(y))
    for one, other in zip(first, second, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(y, leaves, torch.ones_like(y))


def test_keeps_no_product() -> None:
    kept = []
    plain, served = _pair()
    for module in (plain, served):
        sizes: dict[int, int] = {}

        def pack(t: Tensor, sizes: dict[int, int] = sizes) -> Tensor:
            sizes[t.untyped_storage().data_ptr()] = t.numel()
            return t

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
            y = module(_x())
        kept.append(sum(sizes.values()) - sum(p.numel() for p in module.parameters()))
        del y
    assert kept[1] == ROWS * (HIDDEN + 2 * INNER)
    assert kept[0] >= ROWS * (HIDDEN + 4 * INNER)


class _Products(TorchDispatchMode):
    """Counts matrix products."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen += func in (torch.ops.aten.mm.default, torch.ops.aten.addmm_.default)
        return func(*args, **(kwargs or {}))


def test_a_checkpoint_does_not_compute_the_last_projection_again() -> None:
    _, served = _pair()
    x = _x()
    y = checkpoint(served, x, use_reentrant=False)
    assert isinstance(y, Tensor)
    with _Products() as products:
        _gradients(served, x, y)
    assert products.seen == 2 + 6  # again, and for three inputs and three weights


def test_a_checkpoint_changes_no_gradient() -> None:
    _, served = _pair()
    x = _x()
    again = checkpoint(served, x, use_reentrant=False)
    assert isinstance(again, Tensor)
    plain = _gradients(served, x, served(x))
    for name, gradient in _gradients(served, x, again).items():
        torch.testing.assert_close(gradient, plain[name], rtol=0, atol=0)


def _hook(module: _Two) -> None:
    module.up_proj.register_forward_hook(lambda module, given, got: None)


def _watch(module: _Two) -> None:
    module.gate_proj.register_full_backward_hook(lambda module, given, got: None)


def _replace(module: _Two) -> None:
    module.down_proj.forward = lambda input: F.linear(input, module.down_proj.weight)  # type: ignore[method-assign]


@pytest.mark.parametrize("change", [_hook, _watch, _replace])
def test_projections_that_somebody_watches_are_called(change: Any) -> None:
    (_, served), (_, other) = _pair(), _pair()
    change(served)
    y = served(_x())
    assert not _is_node(y)
    torch.testing.assert_close(y, other(_x()), rtol=0, atol=0)


def test_evaluating_makes_no_node() -> None:
    _, served = _pair()
    with torch.no_grad():
        y = served(_x())
    assert y.grad_fn is None
    torch.testing.assert_close(y, served(_x()).detach(), rtol=0, atol=0)


def test_halves_in_the_other_order_are_called() -> None:
    _, served = _pair(_UpHalfFirst)
    assert not _is_node(served(_x()))


def test_autocast_calls_modules() -> None:
    _, served = _pair(dtype=torch.float32)
    with torch.autocast(testing.device().type, torch.bfloat16):
        y = served(_x(torch.float32))
    assert y.dtype is torch.bfloat16
    assert not _is_node(y)


def test_no_rows_have_gradients_of_zero() -> None:
    _, served = _pair()
    x = _x()[:, :0].detach().requires_grad_()
    for name, gradient in _gradients(served, x, served(x)).items():
        assert not gradient.any(), name


def test_a_result_that_nobody_uses_costs_nothing() -> None:
    _, served = _pair()
    x = _x()
    y, z = served(x), x.sum()
    (gradient,) = torch.autograd.grad(z + 0.0 * y.detach().sum(), [x])
    torch.testing.assert_close(gradient, torch.ones_like(x))
