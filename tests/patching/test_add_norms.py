"""A sum and the norm of it: one kernel where a layer makes both, or as they were."""

from __future__ import annotations

import copy
import inspect
import traceback
from collections.abc import Callable
from typing import Any

import pytest
import torch
from models import launched, model, same_step, step, tokens
from torch import Tensor, nn

from workbench.models.launches import Launches
from workbench_kernels import testing
from workbench_kernels.patching import patch, unpatch
from workbench_kernels.patching.add_norms import add_norm
from workbench_kernels.patching.rewritten import normed_sums, rewritten
from workbench_kernels.patching.verdicts import Verdicts

VERDICTS = Verdicts()
# Rounded before the weight; weight + 1; a multiplier in the sum.
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("llama", {}),
    ("gemma2", {}),
    ("granite", {"residual_multiplier": 0.7}),
)


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_both_are_one_kernel(kind: str, settings: dict[str, Any]) -> None:
    made = model(kind, **settings)
    before = step(made)
    report = patch(made, verdicts=VERDICTS)
    served = report.of("add_norm")
    assert len(served) == 2 and all(entry.verdict.served for entry in served)
    ran = launched(made)
    assert ran["fused_add_rms_norm"] == ran["fused_add_rms_norm_backward"] == 2
    assert ran["rms_norm"] == len(report.of("norm")) - 2
    same_step(before, step(made))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_same_bits_as_apart(dtype: torch.dtype) -> None:
    """Forward; in 16 bits autograd rounds the gradients of both before it adds them."""
    made = model("llama", dtype)
    patch(made, only=["norm"], verdicts=VERDICTS)
    apart = made(input_ids=tokens()).logits
    unpatch(made)
    patch(made, only=["norm", "add_norm"], verdicts=VERDICTS)
    assert torch.equal(made(input_ids=tokens()).logits, apart)


@pytest.mark.parametrize("only", [["add_norm"], ["norm"], ["add_norm", "mlp"]], ids=str)
def test_the_norm_has_to_be_served(only: list[str]) -> None:
    made = model("llama")
    assert not patch(made, only=only, verdicts=VERDICTS).of("add_norm")
    assert "fused_add_rms_norm" not in launched(made)


def test_compiled_whole() -> None:
    made = model("llama")
    patch(made, verdicts=VERDICTS)
    wanted = made.model(input_ids=tokens()).last_hidden_state
    ran: list[str] = []

    def seen(graph: torch.fx.GraphModule, given: list[Any]) -> Callable[..., Any]:
        ran.extend(str(node.target) for node in graph.graph.nodes)
        return graph

    torch.compiler.reset()
    compiled = torch.compile(made.model, fullgraph=True, backend=seen)
    found = compiled(input_ids=tokens()).last_hidden_state
    torch.testing.assert_close(found, wanted)
    assert sum("fused_add_rms_norm" in target for target in ran) == 2


def _watch(norm: nn.Module, seen: list[Any]) -> Any:
    return norm.register_forward_hook(lambda module, given, got: seen.append(given[0]))


def _watch_backward(norm: nn.Module, seen: list[Any]) -> Any:
    return norm.register_full_backward_hook(lambda module, *grads: seen.append(grads))


def _watch_all(norm: nn.Module, seen: list[Any]) -> Any:
    register = nn.modules.module.register_module_forward_hook
    return register(lambda module, *_: seen.append(module) if module is norm else None)


@pytest.mark.parametrize("watch", [_watch, _watch_backward, _watch_all])
def test_a_norm_that_is_watched_is_called(watch: Callable[..., Any]) -> None:
    made = model("llama")
    before = step(made)
    patch(made, verdicts=VERDICTS)
    norm = made.model.layers[0].post_attention_layernorm
    seen: list[Any] = []
    handle = watch(norm, seen)
    try:
        same_step(before, step(made))
    finally:
        handle.remove()
    assert len(seen) == 1
    assert launched(made)["fused_add_rms_norm"] == 2 and len(seen) == 1


def test_a_forward_that_is_put_over_the_norms_is_called() -> None:
    made = model("llama")
    patch(made, verdicts=VERDICTS)
    norm = made.model.layers[0].post_attention_layernorm
    ours = norm.forward
    norm.forward = lambda x: ours(x) * 0.0  # as Liger or accelerate would
    before = made.model.layers[1].mlp(torch.zeros(1, 32))
    got = made.model.layers[0].mlp(norm(torch.ones(1, 32)))
    assert torch.equal(got, torch.zeros_like(got)) and before.shape == got.shape
    assert launched(made)["fused_add_rms_norm"] == 1


def _served_norm() -> nn.Module:
    holder = nn.Sequential(nn.RMSNorm(8, eps=1e-6)).to(testing.device())
    patch(holder, verdicts=VERDICTS)
    return holder[0]


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(lambda x: x[:1], id="another shape"),
        pytest.param(lambda x: x.double(), id="another dtype"),
        pytest.param(lambda x: 1.0, id="a number"),
        pytest.param(lambda x: x.as_subclass(_Own), id="a subclass"),
    ],
)
def test_what_was_not_proven_is_added_as_it_was(other: Callable[[Tensor], Any]) -> None:
    norm = _served_norm()
    x = torch.randn(4, 8, device=testing.device())
    with Launches() as launches:
        normed, total = add_norm(norm, x, other(x))
    assert "fused_add_rms_norm" not in launches.ops
    torch.testing.assert_close(total, x + other(x))
    torch.testing.assert_close(normed, norm(x + other(x)))


class _Own(Tensor):
    pass


class _Layer(nn.Module):
    """A sum, another name for it, and the norm of it."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.RMSNorm(8, eps=1e-6)

    def forward(self, x: Tensor, y: Tensor, *, scale: float = 1.0) -> Tensor:
        total = x + y * scale
        residual = total
        total = self.norm(total)
        return residual - total


class _Nested(_Layer):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        if x.dim() > 1:
            for _ in range(2):
                x = x + y
                y = self.norm(x)
        return x - y


class _Between(_Layer):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        total = x + y
        total = total * 2.0
        return self.norm(total)


class _InPlace(_Layer):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        total = x * 1.0
        total += y
        total = self.norm(total)
        return -total


class _Renamed(_Layer):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        total = x + y
        total = x
        total = self.norm(total)
        return -total


class _Closed(_Layer):
    def forward(self, x: Tensor, y: Tensor) -> Tensor:  # type: ignore[override]
        total = x + y
        total = self.norm(total)
        return total if self.training else super().forward(x, y)


@pytest.mark.parametrize(
    ("kind", "fused"),
    [(_Layer, 1), (_Nested, 2), (_Between, 0), (_InPlace, 0), (_Renamed, 0), (_Closed, 0)],
)
def test_one_follows_the_other(kind: type[nn.Module], fused: int) -> None:
    torch.manual_seed(0)
    plain = kind().to(testing.device())
    served = copy.deepcopy(plain)
    report = patch(served, verdicts=VERDICTS)
    assert len(report.of("add_norm")) == (fused > 0) and not report.left
    given = torch.randn(2, 3, 8, device=testing.device()).unbind()
    with Launches() as launches:
        got = served(*given)
    torch.testing.assert_close(got, plain(*given))
    assert launches.ops["fused_add_rms_norm"] == fused


def test_what_is_given_by_name_and_by_default_is_the_same() -> None:
    plain = _Layer().to(testing.device())
    served = copy.deepcopy(plain)
    patch(served, verdicts=VERDICTS)
    x, y = torch.randn(2, 3, 8, device=testing.device()).unbind()
    torch.testing.assert_close(served(x, y=y), plain(x, y=y))
    torch.testing.assert_close(served(x, y, scale=3.0), plain(x, y, scale=3.0))


def test_a_traceback_shows_the_models_lines() -> None:
    forward = rewritten(_Layer, ("norm",), add_norm).forward
    lines, first = inspect.getsourcelines(_Layer.forward)
    with pytest.raises(TypeError) as caught:
        forward(_Layer(), None, torch.ones(1))
    frame = traceback.extract_tb(caught.value.__traceback__)[1]
    assert frame.filename == __file__ and frame.name == "forward"
    assert frame.lineno == first + 1 and "total = x" in lines[1]
    frame = traceback.extract_tb(_raised(forward).__traceback__)[1]
    assert frame.lineno == first + 4 and "return" in lines[4]


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> None:
        pass


def _raised(forward: Callable[..., Any]) -> BaseException:
    broken = _Layer()
    broken.norm = _Nothing()  # type: ignore[assignment]
    with pytest.raises(TypeError) as caught:
        forward(broken, torch.ones(1), torch.ones(1))
    return caught.value


def test_source_that_is_not_what_runs_is_left_alone() -> None:
    """As where a file was changed after it was imported."""

    def runs(self: Any, x: Tensor, y: Tensor) -> Tensor:
        total: Tensor = x - y
        return total

    assert normed_sums(_Layer.forward) == ("norm",)
    shown = _Layer.forward.__code__
    runs.__code__ = runs.__code__.replace(
        co_firstlineno=shown.co_firstlineno, co_filename=shown.co_filename
    )
    assert normed_sums(runs) == ()
    with pytest.raises(TypeError, match="another by now"):
        rewritten(type("Other", (nn.Module,), {"forward": runs}), ("norm",), add_norm)
