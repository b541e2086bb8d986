"""Norms of queries and keys: computed with the rotary function they go to, or as they were."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from models import launched, model, same_step, step, tokens
from torch import Tensor, nn
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from workbench_kernels import testing
from workbench_kernels.patching import patch
from workbench_kernels.patching.unnormed import Norm, Unnormed, defer, pending_of
from workbench_kernels.patching.verdicts import Verdicts

VERDICTS = Verdicts()
# Rounded before the weight; weight + 1, heads first; half of a head turned.
KINDS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("qwen3", {}),
    ("gemma3_text", {}),
    ("glm4_moe", {"use_qk_norm": True, "partial_rotary_factor": 0.5}),
)


@pytest.mark.parametrize(("kind", "settings"), KINDS)
def test_they_are_computed_with_the_rotation(kind: str, settings: dict[str, Any]) -> None:
    made = model(kind, **settings)
    before = step(made)
    report = patch(made, verdicts=VERDICTS)
    served = report.of("qk_norm")
    assert served and all(entry.verdict.served for entry in served)
    ran = launched(made)
    assert ran["qk_norm_rope"] == ran["qk_norm_rope_backward"] == len(served)
    assert "rope" not in ran
    same_step(before, step(made))


@pytest.mark.parametrize("only", [["norm"], ["norm", "qk_norm"], ["rope", "qk_norm"]], ids=str)
def test_both_have_to_be_served(only: list[str]) -> None:
    made = model("qwen3")
    assert not patch(made, only=only, verdicts=VERDICTS).of("qk_norm")
    assert "qk_norm_rope" not in launched(made)


def test_compiled_whole() -> None:
    made = model("qwen3")
    patch(made, verdicts=VERDICTS)
    wanted = made.model(input_ids=tokens()).last_hidden_state
    compiled = torch.compile(made.model, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(input_ids=tokens()).last_hidden_state, wanted)


class _Attention(nn.Module):
    """Two heads of queries, one of keys."""

    def __init__(self) -> None:
        super().__init__()
        self.head_dim, self.turns = 16, True
        self.q_norm, self.k_norm = (nn.RMSNorm(16, eps=1e-6) for _ in range(2))

    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k = x.view(2, 5, 3, 16).split([2, 1], 2)
        q, k = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2)
        q, k = apply_rotary_pos_emb(q, k, cos, sin)
        return q @ k.mT


class _Sometimes(_Attention):
    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k = x.view(2, 5, 3, 16).split([2, 1], 2)
        q, k = self.q_norm(q).transpose(1, 2), self.k_norm(k).transpose(1, 2)
        if self.turns:
            q, k = apply_rotary_pos_emb(q, k, cos, sin)
        return q @ k.mT


class _Afterwards(_Attention):
    def forward(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        q, k = x.view(2, 5, 3, 16).split([2, 1], 2)
        q, k = apply_rotary_pos_emb(q.transpose(1, 2), k.transpose(1, 2), cos, sin)
        return self.q_norm(q) @ self.k_norm(k).mT


@pytest.mark.parametrize(("kind", "taken"), [(_Attention, 1), (_Sometimes, 0), (_Afterwards, 0)])
def test_the_rotation_comes_after_the_norms_and_always(kind: type[nn.Module], taken: int) -> None:
    """Else heads that nobody computed could get past Python, as into another's kernel."""
    torch.manual_seed(0)
    plain = kind().to(testing.device())
    served = copy.deepcopy(plain)
    report = patch(served, verdicts=VERDICTS)
    assert len(report.of("qk_norm")) == taken and not report.left
    angles = torch.rand(2, 5, 16, device=testing.device())
    given = torch.randn(2, 5, 48, device=testing.device()), angles.cos(), angles.sin()
    torch.testing.assert_close(served(*given), plain(*given))


def test_a_norm_that_is_watched_is_computed() -> None:
    made = model("qwen3")
    before = step(made)
    patch(made, verdicts=VERDICTS)
    seen: list[Tensor] = []
    norm = made.get_submodule("model.layers.0.self_attn.q_norm")
    norm.register_forward_hook(lambda module, given, got: seen.append(got))
    same_step(before, step(made))
    assert launched(made)["qk_norm_rope"] == 1
    assert all(type(t) is Tensor for t in seen)


def _norm(weight: Tensor) -> Norm:
    def compute(x: Tensor) -> Tensor:
        return torch.nn.functional.rms_norm(x, x.shape[-1:], weight, 1e-6)

    return Norm(weight, 1e-6, 0.0, compute)


class _Double(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return 2.0 * x

    @staticmethod
    def backward(ctx: Any, dy: Tensor) -> Tensor:
        return 2.0 * dy


USES: dict[str, Any] = {
    "added": lambda t: t + 1.0,
    "moved and added": lambda t: t.transpose(1, 2).permute(0, 2, 1, 3) + 1.0,
    "given second": lambda t: torch.add(torch.ones_like(t), t),
    "in a list": lambda t: torch.cat([t, t]),
    "viewed": lambda t: t.flatten(0, 1),
    "by a function of its own": lambda t: _Double.apply(t),
    "moved, by a function of its own": lambda t: _Double.apply(t.transpose(1, 2)),
    "changed": lambda t: t.mul_(3.0),
    "written into": lambda t: t.clone().index_fill_(0, torch.tensor([0], device=t.device), 0.0),
    "matched": lambda t: t @ t.mT,
    "detached": lambda t: t.detach() * t,
}


@pytest.mark.parametrize("use", USES)
def test_whoever_reads_one_gets_the_norm(use: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(2, 3, 4, 8, device=testing.device(), requires_grad=True)
    weight = nn.Parameter(torch.rand(8, device=testing.device()))
    norm = _norm(weight)
    given = []
    for t in (norm.compute(x), defer(x, norm)):
        y = USES[use](t)
        torch.manual_seed(1)
        given.append([y.detach(), *torch.autograd.grad(y, [x, weight], torch.randn_like(y))])
    for one, other in zip(*given, strict=True):
        torch.testing.assert_close(other, one)
        assert type(other) is Tensor


def test_it_says_what_it_is_without_being_computed() -> None:
    x = torch.randn(2, 3, 4, 8, requires_grad=True)
    norm = _norm(nn.Parameter(torch.ones(8)))
    lazy, real = defer(x, norm).transpose(1, 2), norm.compute(x).transpose(1, 2)
    assert isinstance(lazy, Unnormed)
    assert lazy.shape == real.shape and lazy.size(1) == 4 and lazy.dim() == lazy.ndim == 4
    assert lazy.stride() == real.stride() and lazy.is_contiguous() == real.is_contiguous()
    assert lazy.dtype == real.dtype and lazy.device == real.device and lazy.requires_grad
    assert lazy.numel() == real.numel() and len(lazy) == 2 and not lazy.is_leaf
    assert lazy.pending.real is None


def test_two_are_taken_that_nobody_has_read() -> None:
    x = torch.randn(2, 3, 4, 8)
    norm = _norm(nn.Parameter(torch.ones(8)))
    q, k = defer(x, norm), defer(x, norm)
    assert pending_of([q, k]) is not None
    assert pending_of([q]) is pending_of([q, x]) is None
    assert pending_of([q, defer(x, norm._replace(eps=1e-5))]) is None
    assert float(k.sum()) == float(norm.compute(x).sum())
    assert pending_of([q, k]) is None


@pytest.mark.parametrize("changed", ["x", "weight"])
def test_a_change_in_between_is_an_error(changed: str) -> None:
    x, weight = torch.randn(2, 3, 4, 8), torch.ones(8)
    q, k = defer(x, _norm(weight)), defer(x.clone(), _norm(weight.clone()))
    (x if changed == "x" else weight).mul_(2.0)
    with pytest.raises(RuntimeError, match="changed in place"):
        pending_of([q, k])
    with pytest.raises(RuntimeError, match="changed in place"):
        q.transpose(1, 2).sum()
    with pytest.raises(RuntimeError, match="changed in place"):
        q.sum()
