"""How an op is called: directly where nobody looks, else by way of PyTorch's dispatcher."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from workbench_kernels import op

NAME = "thrice_for_tests"


def _forward(x: Tensor, factor: float) -> tuple[Tensor, Tensor]:
    with torch.no_grad():
        return x * 3 * factor, x + 0


def _backward(dy: Tensor, factor: float, needs: list[bool]) -> list[Tensor]:
    return [dy * 3 * factor] if needs[0] else []


def _save(ctx: Any, inputs: tuple[Any, ...], output: Any) -> None:
    ctx.factor = inputs[1]
    inputs[0].called_directly = getattr(ctx, "called_directly", False)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)


@pytest.fixture(scope="module", name="thrice")
def defined() -> Iterator[Any]:
    call = op.define(
        NAME, _forward, fake=lambda x, factor: (torch.empty_like(x), torch.empty_like(x))
    )
    back = op.define(
        f"{NAME}_backward",
        _backward,
        fake=lambda dy, factor, needs: [torch.empty_like(dy)] if needs[0] else [],
    )

    def differentiate(ctx: Any, dy: Tensor, _: None) -> Any:
        return *op.spread(back(dy, ctx.factor, [True]), [True]), None

    op.autograd(NAME, save=_save, backward=differentiate)
    yield call
    for name in (NAME, f"{NAME}_backward"):
        op._LIBRARIES.pop(name)


class Names(TorchDispatchMode):
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


def dispatched(call: Any) -> bool:
    """Whether PyTorch's dispatcher sees the op, as its profiler says."""
    with torch.profiler.profile() as profile:
        call()
    return any(event.name == f"workbench_kernels::{NAME}" for event in profile.events())


@pytest.mark.parametrize("needs", [False, True])
def test_an_op_is_called_directly(thrice: Any, needs: bool) -> None:
    x = torch.randn(4).requires_grad_(needs)
    assert not dispatched(lambda: thrice(x, 2.0))
    assert dispatched(lambda: getattr(torch.ops.workbench_kernels, NAME)(x, 2.0))
    y, kept = thrice(x, 2.0)
    assert torch.equal(y, 6 * x) and y.requires_grad is needs and not kept.requires_grad
    if needs:
        (dx,) = torch.autograd.grad(y.sum(), x)
        assert torch.equal(dx, torch.full((4,), 6.0))


def test_save_is_told_whether_the_op_was_called_directly(thrice: Any) -> None:
    x = torch.randn(4, requires_grad=True)
    for call, directly in ((thrice, True), (getattr(torch.ops.workbench_kernels, NAME), False)):
        call(x, 2.0)
        assert x.called_directly is directly  # type: ignore[attr-defined]


def test_without_grad_mode_there_is_no_graph(thrice: Any) -> None:
    with torch.no_grad():
        assert not thrice(torch.randn(4, requires_grad=True), 1.0)[0].requires_grad


def test_a_module_of_parameters_is_plain(thrice: Any) -> None:
    weight = torch.nn.Parameter(torch.ones(3))
    assert not dispatched(lambda: thrice(weight, 1.0)) and thrice(weight, 1.0)[0].requires_grad


@pytest.mark.parametrize("needs", [False, True])
def test_a_mode_sees_the_op(thrice: Any, needs: bool) -> None:
    with Names() as names:
        thrice(torch.randn(4).requires_grad_(needs), 2.0)
    assert f"workbench_kernels.{NAME}.default" in names.seen


def test_tensors_that_are_not_plain_are_dispatched(thrice: Any) -> None:
    class Own(Tensor):
        pass

    assert thrice(torch.empty(4, device="meta"), 1.0)[0].is_meta
    with FakeTensorMode() as mode:
        fake = mode.from_tensor(torch.ones(4))
    assert type(thrice(fake, 1.0)[0]) is type(fake)
    own = torch.ones(4).as_subclass(Own)
    assert dispatched(lambda: thrice(own, 1.0))


def test_a_transform_sees_the_op(thrice: Any) -> None:
    x = torch.randn(4)
    dx = torch.func.grad(lambda t: thrice(t, 2.0)[0].sum())
    with pytest.raises(RuntimeError):  # registered without a rule for it, and not passed by
        dx(x)


def test_what_got_out_of_a_transform_is_dispatched(thrice: Any) -> None:
    kept: list[Tensor] = []

    def leaky(t: Tensor) -> Tensor:
        kept.append(t)
        return t.sum()

    torch.func.grad(leaky)(torch.ones(3))
    assert dispatched(lambda: thrice(kept[0], 1.0))


def test_a_compiler_sees_one_node(thrice: Any) -> None:
    graphs: list[str] = []

    def backend(graph: torch.fx.GraphModule, example: object) -> Any:
        graphs.append(graph.code)
        return graph.forward

    compiled = torch.compile(lambda x: thrice(x, 2.0)[0], backend=backend, fullgraph=True)
    assert torch.equal(compiled(torch.ones(3)), torch.full((3,), 6.0))
    assert len(graphs) == 1 and f"workbench_kernels.{NAME}" in graphs[0]


@pytest.mark.parametrize("direct", [True, False])
def test_a_second_derivative_is_refused_either_way(thrice: Any, direct: bool) -> None:
    x = torch.ones(3, requires_grad=True)
    call = thrice if direct else getattr(torch.ops.workbench_kernels, NAME)
    sent = torch.ones(3, requires_grad=True)
    (dx,) = torch.autograd.grad(call(x, 1.0)[0], x, sent, create_graph=True)
    with pytest.raises(NotImplementedError, match="no second derivative"):
        torch.autograd.grad(dx.sum(), sent)
