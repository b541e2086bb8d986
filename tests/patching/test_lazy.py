"""Lazy logits: what is recorded, and that all else is done to real logits as if they had been so
from the start.
"""

from __future__ import annotations

import copy
import gc
import io
import weakref
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from workbench_kernels.patching import fused_loss
from workbench_kernels.patching.lazy import LazyLogits, Meter, defer

ROWS, HIDDEN, CLASSES = (2, 5), 8, 13
Step = Callable[[Any], Any]


def _leaves(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(*ROWS, HIDDEN), (CLASSES, HIDDEN), (CLASSES,)]
    drawn = [torch.randn(shape, generator=generator).to(dtype) for shape in shapes]
    return [t.requires_grad_() for t in drawn]


def _lazy(leaves: list[Tensor]) -> LazyLogits:
    return defer(*leaves, Meter())  # type: ignore[call-arg]


def _loss(logits: Tensor) -> Tensor:
    """The rows of any shape against labels, one of them ignored."""
    labels = torch.arange(logits.shape[:-1].numel()) % 7
    labels[1] = -100
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels)


def _in_place(u: Tensor) -> Tensor:
    u = u * 2.0
    u /= 3.0
    return u.mul_(0.5)


MASK = torch.tensor([[True, False, True, True, True], [False, True, True, True, False]])
RECORDED: dict[str, Step] = {
    "as it is": lambda u: u,
    "scaled": lambda u: 0.25 * u,
    "divided": lambda u: u / 8.0,
    "capped": lambda u: torch.tanh(u / 3.0) * 3.0,
    "capped by a module": lambda u: torch.nn.Tanh()(u / 3.0) * 3.0,
    "scaled, capped": lambda u: F.tanh(0.5 * u / 3.0) * -3.0,
    "in place": _in_place,
    "cast": lambda u: u.float().to(torch.float32).type(torch.float32).to("cpu"),
    "shifted": lambda u: u[..., :-1, :].contiguous(),
    "the last tokens": lambda u: u[:, -3:, :],
    "the last tokens, without the classes": lambda u: u[:, -3:],
    "one sequence": lambda u: u[1],
    "a step": lambda u: u[:, ::2],
    "rows by a mask": lambda u: u[..., :5, :][MASK],
    "rows by numbers": lambda u: u[:, torch.tensor([3, 0])],
    "fewer classes": lambda u: u[..., :9],
    "fewer classes of some tokens": lambda u: u[:, 1:, :9],
    "flat": lambda u: u.view(-1, CLASSES),
    "flat by size": lambda u: u.reshape((10, u.size(-1))),
    "flat by flatten": lambda u: u.flatten(0, 1),
    "flat by sizes": lambda u: u.view(torch.Size([10, 13])),
    "one more dim": lambda u: u.unsqueeze(0).squeeze(0)[None],
    "biased": lambda u: u + torch.linspace(-1, 1, CLASSES)[None],
    "copied": lambda u: u.clone().float(),
    "turned": lambda u: u.transpose(0, -2).contiguous(),
    "log-softmax": lambda u: F.log_softmax(u.view(-1, CLASSES), -1, dtype=torch.float32),
    "log-softmax, its dtype by place": lambda u: u.log_softmax(-1, torch.float32),
}
REAL: dict[str, Step] = {
    "another sum": lambda u: u + torch.ones(2, 5, CLASSES),
    "a number for each token": lambda u: u * torch.ones(2, 5, 1),
    "two caps": lambda u: torch.tanh(torch.tanh(u)),
    "biased after a scale": lambda u: 2.0 * u + torch.ones(CLASSES),
    "other classes": lambda u: u[..., 2:],
    "every other class": lambda u: u[..., ::2],
    "reversed": lambda u: u.flip(-1),
    "a shape across the classes": lambda u: u.reshape(13, 10),
    "masked": lambda u: u.masked_fill(torch.arange(CLASSES) == 2, -1e4),
    "written to": lambda u: _written(u),
    "fewer digits": lambda u: u.bfloat16().float(),
    "added to itself": lambda u: u + u,
    "joined": lambda u: torch.cat([u, u], dim=1),
    "turned to the classes": lambda u: u.transpose(1, 2),
    "log-softmax of tokens": lambda u: u.log_softmax(1),
    "log-softmax, scaled": lambda u: 2.0 * u.log_softmax(-1),
    "log-softmax of fewer classes after it": lambda u: u.log_softmax(-1)[..., :9],
    "float64": lambda u: u.double(),
}


def _written(u: Tensor) -> Tensor:
    u[..., 3] = -1e4
    return u


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_steps_keep_loss_and_gradients(name: str) -> None:
    leaves = _leaves()
    steps = RECORDED[name]
    expected = _loss(steps(F.linear(*leaves)))
    wanted = torch.autograd.grad(expected, leaves)
    logits = steps(_lazy(leaves))
    assert isinstance(logits, LazyLogits)
    loss = _loss(logits)
    assert logits.deferred.fused and logits.deferred.pending()
    # Sums of at most 10 rows and 13 classes, in another order.
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=0)
    for gradient, want in zip(torch.autograd.grad(loss, leaves), wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", [*RECORDED, *REAL])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_real_logits_are_what_they_would_have_been(name: str, dtype: torch.dtype) -> None:
    """Bit by bit, and so are their gradients."""
    leaves = _leaves(dtype)
    steps = {**RECORDED, **REAL}[name]
    if name == "biased" and dtype is torch.bfloat16:
        pytest.skip("the bias is in float32")
    expected, found = steps(F.linear(*leaves)), steps(_lazy(leaves))
    if name in REAL:
        assert not (isinstance(found, LazyLogits) and found.deferred.pending())
    assert (found.shape, found.dtype, found.device) == (
        expected.shape,
        expected.dtype,
        expected.device,
    )
    assert torch.equal(found.detach(), expected.detach())
    wanted = torch.autograd.grad(expected.square().mean(), leaves)
    for gradient, want in zip(
        torch.autograd.grad(found.square().mean(), leaves), wanted, strict=True
    ):
        assert torch.equal(gradient, want)


def test_metadata_needs_no_values() -> None:
    u = _lazy(_leaves())
    assert u.shape == (2, 5, 13) and u.size() == (2, 5, 13) and u.size(-1) == 13
    assert u.dim() == u.ndim == 3 and len(u) == 2 and u.numel() == 130
    assert u.dtype is torch.float32 and u.device == torch.device("cpu")
    assert u.requires_grad and u.is_floating_point() and isinstance(u, Tensor)
    assert u.deferred.real is None


@pytest.mark.parametrize(
    "read",
    [
        lambda u: u.detach().numpy().tolist(),
        lambda u: u.cpu().tolist(),
        lambda u: u.argmax(-1).tolist(),
        lambda u: repr(u),
        lambda u: copy.deepcopy(u.detach()).tolist(),
        lambda u: u.data.tolist(),
        lambda u: [[[float(n) for n in row] for row in sequence] for sequence in u],
        lambda u: _saved(u).tolist(),
    ],
)
def test_reading_gives_a_tensor_s_values(read: Step) -> None:
    leaves = _leaves()
    assert str(read(_lazy(leaves))) == str(read(F.linear(*leaves)))


def _saved(u: Tensor) -> Tensor:
    file = io.BytesIO()
    torch.save(u, file)
    file.seek(0)
    loaded: Tensor = torch.load(file)
    assert type(loaded) is Tensor
    return loaded


def test_values_are_computed_once_and_with_their_graph() -> None:
    leaves = _leaves()
    u = _lazy(leaves)
    with torch.no_grad():
        u.argmax(-1)
    first = u.deferred.real
    assert first is not None and first.requires_grad
    (u * 2).sum().backward()
    assert u.deferred.real is first and leaves[0].grad is not None


def test_another_autograd_function_gets_the_gradient_through() -> None:
    """It takes its arguments past `__torch_function__`."""

    class Square(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, u: Tensor) -> Tensor:
            ctx.save_for_backward(u)
            return u * u

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            return 2 * ctx.saved_tensors[0] * grads[0]

    leaves = _leaves()
    wanted = torch.autograd.grad(Square.apply(F.linear(*leaves) / 3).sum(), leaves)
    found = torch.autograd.grad(Square.apply(_lazy(leaves) / 3).sum(), leaves)
    for gradient, want in zip(found, wanted, strict=True):
        assert torch.equal(gradient, want)


def test_loss_and_logits_may_both_be_differentiated() -> None:
    leaves = _leaves()

    def both(u: Tensor) -> Tensor:
        return _loss(u) + 0.1 * u.logsumexp(-1).square().mean()

    wanted = torch.autograd.grad(both(F.linear(*leaves)), leaves)
    for gradient, want in zip(
        torch.autograd.grad(both(_lazy(leaves)), leaves), wanted, strict=True
    ):
        torch.testing.assert_close(gradient, want, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("write", [lambda u: u.mul_(3.0), lambda u: u.zero_()])
def test_a_change_in_place_reaches_views_and_spares_copies(write: Step) -> None:
    results = []
    for u in (F.linear(*_leaves()), _lazy(_leaves())):
        base = u * 1.0
        view, copied = base[:, 1:], base * 2.0
        write(base)
        results.append([base.detach(), view.detach(), copied.detach(), _loss(view).detach()])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-6, atol=0)


def test_a_change_of_a_view_reaches_what_it_is_of() -> None:
    results = []
    for u in (F.linear(*_leaves()), _lazy(_leaves())):
        base = u * 1.0
        base[:, 1:].mul_(3.0)
        results.append(base.detach())
    assert torch.equal(*results)


def test_logits_are_refused_once_the_weights_have_changed() -> None:
    leaves = _leaves()
    u = _lazy(leaves)
    with torch.no_grad():
        leaves[1].add_(1.0)
    with pytest.raises(RuntimeError, match="before the optimizer's step"):
        u.argmax()


def test_gradients_of_logits_are_refused_after_a_loss_without_them() -> None:
    u = _lazy(_leaves())
    _loss(u)
    with pytest.raises(RuntimeError, match="get no gradient"):
        u.retain_grad()
    u.register_hook(print).remove()
    assert u.deferred.real is None


def test_gradients_of_logits_asked_for_in_time_are_there() -> None:
    u = _lazy(_leaves())
    u.retain_grad()
    _loss(u).backward()
    assert u.grad is not None and u.grad.shape == u.shape


@pytest.mark.parametrize(
    "options",
    [
        {"reduction": "sum"},
        {"reduction": "none"},
        {"label_smoothing": 0.1},
        {"weight": torch.linspace(0.5, 2.0, CLASSES)},
        {"ignore_index": 3},
    ],
    ids=str,
)
def test_options_of_cross_entropy(options: dict[str, Any]) -> None:
    leaves, labels = _leaves(), torch.arange(10) % 7
    expected = F.cross_entropy(F.linear(*leaves).flatten(0, 1), labels, **options)
    u = _lazy(leaves)
    loss = F.cross_entropy(u.flatten(0, 1), labels, **options)
    assert u.deferred.fused
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)
    wanted = torch.autograd.grad(expected.sum(), leaves)
    for gradient, want in zip(torch.autograd.grad(loss.sum(), leaves), wanted, strict=True):
        torch.testing.assert_close(gradient, want, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("options", [{}, {"reduction": "sum", "ignore_index": 3}], ids=str)
def test_the_loss_of_log_probabilities(options: dict[str, Any]) -> None:
    leaves, labels = _leaves(), torch.arange(10) % 7
    expected = F.nll_loss(F.linear(*leaves).flatten(0, 1).log_softmax(-1), labels, **options)
    u = _lazy(leaves)
    loss = F.nll_loss(u.flatten(0, 1).log_softmax(-1), labels, **options)
    assert u.deferred.fused and u.deferred.pending()
    torch.testing.assert_close(loss, expected, rtol=1e-6, atol=1e-6)


def test_of_logits_as_they_are_it_is_pytorch_s() -> None:
    u, real = (t.flatten(0, 1) for t in (_lazy(_leaves()), F.linear(*_leaves())))
    assert torch.equal(*(F.nll_loss(t, torch.arange(10) % 7) for t in (u, real)))
    assert not u.deferred.fused


@pytest.mark.parametrize("target", [torch.rand(10, CLASSES), None], ids=["shares", "3 dims"])
def test_other_cross_entropies_are_pytorch_s(target: Tensor | None) -> None:
    u, real = _lazy(_leaves()), F.linear(*_leaves())
    found, expected = (
        F.cross_entropy(t.flatten(0, 1), target)
        if target is not None
        else F.cross_entropy(t.transpose(1, 2), torch.arange(10).view(2, 5))
        for t in (u, real)
    )
    assert torch.equal(found, expected) and not u.deferred.fused


def test_nothing_is_kept_alive_by_a_cycle() -> None:
    gc.disable()
    try:
        x, *rest = _leaves()
        seen = weakref.ref(x)
        u = _lazy([x, *rest])
        loss = _loss(u.float())
        loss.backward()
        del x, u, loss
        assert seen() is None
    finally:
        gc.enable()


@pytest.mark.parametrize(("least", "taken"), [(1 << 20, 1 << 20), (1, 10 * CLASSES * 4 // 8)])
def test_large_logits_are_computed_in_eight_chunks(
    least: int, taken: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = []
    of = fused_loss.linear_cross_entropy

    def noted(*args: Any, **options: Any) -> Any:
        given.append(options["chunk_bytes"])
        return of(*args, **options)

    monkeypatch.setattr(fused_loss, "linear_cross_entropy", noted)
    monkeypatch.setattr(fused_loss, "_CHUNK_BYTES", least)
    leaves = _leaves()
    wanted = _loss(F.linear(*leaves))
    torch.testing.assert_close(_loss(_lazy(leaves)), wanted)
    assert given == [taken]
