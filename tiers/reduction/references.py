"""Operations with reductions along a row, known by name. Each is the truth its kernel is judged by.

Tensors are (rows, cols) of one dtype unless `<name>_inputs` draws them. Reductions are over the
last dimension; a weight is (cols,) and its gradient a sum over the rows. At a corner, and where
several columns tie for a maximum, the gradient is the one PyTorch picks.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

# Norms


def rms_norm(input: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """y = x / √(mean(x²) + eps)·weight"""
    return F.rms_norm(input, (input.shape[-1],), weight, eps)


def rms_norm_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.rand(cols) + 0.5


def rms_norm_offset(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """y = x / √(mean(x²) + eps)·(1 + weight)"""
    return F.rms_norm(x, (x.shape[-1],), eps=eps) * (1 + weight)


def rms_norm_offset_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), 0.5 * torch.randn(cols)


def rms_norm_no_weight(x: Tensor, eps: float = 1e-6) -> Tensor:
    """y = x / √(mean(x²) + eps)"""
    return F.rms_norm(x, (x.shape[-1],), eps=eps)


def add_rms_norm(
    x: Tensor, residual: Tensor, weight: Tensor, eps: float = 1e-6
) -> tuple[Tensor, Tensor]:
    """y = s / √(mean(s²) + eps)·weight and s = x + residual"""
    total = x + residual
    return F.rms_norm(total, (total.shape[-1],), weight, eps), total


def add_rms_norm_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols), torch.rand(cols) + 0.5


def gated_rms_norm(x: Tensor, gate: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    """y = h / √(mean(h²) + eps)·weight, with h = x·gate·sigmoid(gate)"""
    gated = x * F.silu(gate)
    return F.rms_norm(gated, (gated.shape[-1],), weight, eps)


def gated_rms_norm_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols), torch.rand(cols) + 0.5


def layer_norm(input: Tensor, weight: Tensor, bias: Tensor, eps: float = 1e-5) -> Tensor:
    """y = (x - mean(x)) / √(var(x) + eps)·weight + bias"""
    return F.layer_norm(input, (input.shape[-1],), weight, bias, eps)


def layer_norm_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.rand(cols) + 0.5, torch.randn(cols)


def layer_norm_no_bias(x: Tensor, weight: Tensor, eps: float = 1e-5) -> Tensor:
    """y = (x - mean(x)) / √(var(x) + eps)·weight"""
    return F.layer_norm(x, (x.shape[-1],), weight, None, eps)


def layer_norm_no_bias_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.rand(cols) + 0.5


def standardize(x: Tensor, eps: float = 1e-5) -> Tensor:
    """y = (x - mean(x)) / √(var(x) + eps)"""
    return F.layer_norm(x, (x.shape[-1],), eps=eps)


def l2_normalize(x: Tensor, eps: float = 1e-6) -> Tensor:
    """y = x / max(√Σx², eps)"""
    return F.normalize(x, dim=-1, eps=eps)


def l1_normalize(x: Tensor, eps: float = 1e-6) -> Tensor:
    """y = x / (Σ|x| + eps)"""
    return x / (x.abs().sum(-1, keepdim=True) + eps)


def min_max_normalize(x: Tensor, eps: float = 1e-3) -> Tensor:
    """y = (x - min(x)) / (max(x) - min(x) + eps)"""
    low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
    return (x - low) / (high - low + eps)


# Element-wise with parameters per column: the reduction is in their gradients


def dyt(x: Tensor, weight: Tensor, bias: Tensor, alpha: Tensor) -> Tensor:
    """y = weight·tanh(alpha·x) + bias"""
    return weight * torch.tanh(alpha * x) + bias


def dyt_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.rand(cols) + 0.5, torch.randn(cols), torch.tensor(0.5)


def bias_gelu(x: Tensor, bias: Tensor) -> Tensor:
    """y = h·Φ(h), with h = x + bias"""
    return F.gelu(x + bias)


def bias_gelu_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(cols)


def bias_silu(x: Tensor, bias: Tensor) -> Tensor:
    """y = h·sigmoid(h), with h = x + bias"""
    return F.silu(x + bias)


def bias_silu_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(cols)


def prelu(x: Tensor, slope: Tensor) -> Tensor:
    """y = x for x > 0, slope·x otherwise"""
    return F.prelu(x, slope)


def prelu_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.rand(cols)


def layer_scale(x: Tensor, branch: Tensor, scale: Tensor) -> Tensor:
    """y = x + scale·branch"""
    return x + scale * branch


def layer_scale_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols), torch.randn(cols)


# Softmax and its family


def softmax(input: Tensor) -> Tensor:
    """y = eˣ / Σeˣ"""
    return torch.softmax(input, dim=-1)


def softmax_temperature(x: Tensor, temperature: float = 0.7) -> Tensor:
    """y = softmax(x / temperature)"""
    return torch.softmax(x / temperature, dim=-1)


def softmax_softcap(x: Tensor, cap: float = 30.0) -> Tensor:
    """y = softmax(cap·tanh(x / cap))"""
    return torch.softmax(cap * torch.tanh(x / cap), dim=-1)


def softmax_softcap_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (10 * torch.randn(rows, cols),)


def masked_softmax(x: Tensor, mask: Tensor) -> Tensor:
    """y = softmax(x) over the columns where mask is true, 0 elsewhere"""
    return torch.softmax(x.masked_fill(~mask, float("-inf")), dim=-1)


def masked_softmax_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    # The first column stays: a row with nothing left has no softmax.
    return torch.randn(rows, cols), (torch.rand(rows, cols) < 0.7) | (torch.arange(cols) == 0)


def softmin(x: Tensor) -> Tensor:
    """y = e⁻ˣ / Σe⁻ˣ"""
    return F.softmin(x, dim=-1)


def log_softmax(x: Tensor) -> Tensor:
    """y = x - log Σeˣ"""
    return torch.log_softmax(x, dim=-1)


def logsumexp(x: Tensor) -> Tensor:
    """y = log Σeˣ"""
    return torch.logsumexp(x, dim=-1)


# One value per row


def entropy(logits: Tensor) -> Tensor:
    """y = -Σ p·log p, with p = softmax(logits)"""
    log_p = torch.log_softmax(logits, dim=-1)
    return -(log_p.exp() * log_p).sum(-1)


def kl_div(logits: Tensor, target_logits: Tensor) -> Tensor:
    """y = Σ q·(log q - log p), with p = softmax(logits) and q = softmax(target_logits)"""
    log_p = torch.log_softmax(logits, dim=-1)
    log_q = torch.log_softmax(target_logits, dim=-1)
    return F.kl_div(log_p, log_q, reduction="none", log_target=True).sum(-1)


def js_div(logits: Tensor, target_logits: Tensor) -> Tensor:
    """y = ½Σ p·(log p - log m) + ½Σ q·(log q - log m), with m = (p + q) / 2"""
    log_p = torch.log_softmax(logits, dim=-1)
    log_q = torch.log_softmax(target_logits, dim=-1)
    p, q = log_p.exp(), log_q.exp()
    log_m = torch.log((p + q) / 2)
    return 0.5 * (p * (log_p - log_m) + q * (log_q - log_m)).sum(-1)


def total_variation(logits: Tensor, target_logits: Tensor) -> Tensor:
    """y = ½Σ|p - q|, with p = softmax(logits) and q = softmax(target_logits)"""
    p, q = torch.softmax(logits, dim=-1), torch.softmax(target_logits, dim=-1)
    return 0.5 * (p - q).abs().sum(-1)


def soft_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """y = -Σ target·log softmax(logits)"""
    return -(target * torch.log_softmax(logits, dim=-1)).sum(-1)


def soft_cross_entropy_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.softmax(torch.randn(rows, cols), dim=-1)


def z_loss(logits: Tensor, weight: float = 1e-4) -> Tensor:
    """y = weight·(log Σ exp(logits))²"""
    return weight * torch.logsumexp(logits, dim=-1).square()


def hinge(x: Tensor, label: Tensor, margin: float = 1.0) -> Tensor:
    """y = mean(max(margin - label·x, 0))"""
    return torch.relu(margin - label * x).mean(-1)


def hinge_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols).sign()


def mse(prediction: Tensor, target: Tensor) -> Tensor:
    """y = mean((prediction - target)²)"""
    return F.mse_loss(prediction, target, reduction="none").mean(-1)


def mae(prediction: Tensor, target: Tensor) -> Tensor:
    """y = mean(|prediction - target|)"""
    return F.l1_loss(prediction, target, reduction="none").mean(-1)


def cosine_similarity(a: Tensor, b: Tensor, eps: float = 1e-6) -> Tensor:
    """y = Σa·b / (max(√Σa², eps)·max(√Σb², eps))"""
    return F.cosine_similarity(a, b, dim=-1, eps=eps)


def pairwise_distance(a: Tensor, b: Tensor, eps: float = 1e-6) -> Tensor:
    """y = √Σ(a - b + eps)²"""
    return F.pairwise_distance(a, b, eps=eps)
