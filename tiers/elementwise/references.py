"""Element-wise operations known by name. Each is the truth its kernel is judged by.

Tensors are (rows, cols) of one dtype. Where `<name>_inputs` draws them, it is to reach every piece
of the function. At a corner the gradient is the one PyTorch picks.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

# Activations


def relu(x: Tensor) -> Tensor:
    """y = max(x, 0)"""
    return torch.relu(x)


def relu2(x: Tensor) -> Tensor:
    """y = relu(x)²"""
    return torch.relu(x).square()


def relu6(x: Tensor) -> Tensor:
    """y = min(max(x, 0), 6)"""
    return F.relu6(x)


def relu6_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (4 * torch.randn(rows, cols),)


def leaky_relu(x: Tensor, negative_slope: float = 0.01) -> Tensor:
    """y = x for x > 0, negative_slope·x otherwise"""
    return F.leaky_relu(x, negative_slope)


def star_relu(x: Tensor, scale: float = 0.8944, bias: float = -0.4472) -> Tensor:
    """y = scale·relu(x)² + bias"""
    return scale * torch.relu(x).square() + bias


def elu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """y = x for x > 0, alpha·(eˣ - 1) otherwise"""
    return F.elu(x, alpha)


def celu(x: Tensor, alpha: float = 1.0) -> Tensor:
    """y = max(x, 0) + min(0, alpha·(exp(x / alpha) - 1))"""
    return F.celu(x, alpha)


def selu(x: Tensor) -> Tensor:
    """y = s·x for x > 0, s·a·(eˣ - 1) otherwise, with s ≈ 1.0507 and a ≈ 1.6733"""
    return F.selu(x)


def silu(x: Tensor) -> Tensor:
    """y = x·sigmoid(x)"""
    return F.silu(x)


def swish(x: Tensor, beta: float = 1.702) -> Tensor:
    """y = x·sigmoid(beta·x)"""
    return x * torch.sigmoid(beta * x)


def mish(x: Tensor) -> Tensor:
    """y = x·tanh(log(1 + eˣ))"""
    return F.mish(x)


def softplus(x: Tensor, beta: float = 1.0) -> Tensor:
    """y = log(1 + exp(beta·x)) / beta, and x itself where beta·x > 20"""
    return F.softplus(x, beta)


def squareplus(x: Tensor, b: float = 4.0) -> Tensor:
    """y = (x + √(x² + b)) / 2"""
    return (x + torch.sqrt(x * x + b)) / 2


def hardswish(x: Tensor) -> Tensor:
    """y = x·min(max(x + 3, 0), 6) / 6"""
    return F.hardswish(x)


def hardswish_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (3 * torch.randn(rows, cols),)


def hardsigmoid(x: Tensor) -> Tensor:
    """y = min(max(x / 6 + ½, 0), 1)"""
    return F.hardsigmoid(x)


def hardsigmoid_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (3 * torch.randn(rows, cols),)


def hardtanh(x: Tensor, low: float = -1.0, high: float = 1.0) -> Tensor:
    """y = min(max(x, low), high)"""
    return F.hardtanh(x, low, high)


def gelu(x: Tensor) -> Tensor:
    """y = x·Φ(x) = x/2·(1 + erf(x / √2))"""
    return F.gelu(x)


def gelu_tanh(x: Tensor) -> Tensor:
    """y = x/2·(1 + tanh(√(2/π)·(x + 0.044715·x³)))"""
    return F.gelu(x, approximate="tanh")


def quick_gelu(x: Tensor) -> Tensor:
    """y = x·sigmoid(1.702·x)"""
    return x * torch.sigmoid(1.702 * x)


def tanh(x: Tensor) -> Tensor:
    """y = tanh(x)"""
    return torch.tanh(x)


def sigmoid(x: Tensor) -> Tensor:
    """y = sigmoid(x) = 1 / (1 + e⁻ˣ)"""
    return torch.sigmoid(x)


def logsigmoid(x: Tensor) -> Tensor:
    """y = log sigmoid(x)"""
    return F.logsigmoid(x)


def softsign(x: Tensor) -> Tensor:
    """y = x / (1 + |x|)"""
    return F.softsign(x)


def softcap(x: Tensor, cap: float = 30.0) -> Tensor:
    """y = cap·tanh(x / cap)"""
    return cap * torch.tanh(x / cap)


def softcap_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return (30 * torch.randn(rows, cols),)


def tanhshrink(x: Tensor) -> Tensor:
    """y = x - tanh(x)"""
    return F.tanhshrink(x)


def softshrink(x: Tensor, width: float = 0.5) -> Tensor:
    """y = sign(x)·max(|x| - width, 0)"""
    return F.softshrink(x, width)


def hardshrink(x: Tensor, width: float = 0.5) -> Tensor:
    """y = x where |x| > width, 0 otherwise"""
    return F.hardshrink(x, width)


def threshold(x: Tensor, level: float = 0.1, value: float = -0.5) -> Tensor:
    """y = x where x > level, value otherwise"""
    return F.threshold(x, level, value)


def snake(x: Tensor, alpha: float = 1.0) -> Tensor:
    """y = x + sin²(alpha·x) / alpha"""
    return x + torch.sin(alpha * x).square() / alpha


def telu(x: Tensor) -> Tensor:
    """y = x·tanh(eˣ)"""
    return x * torch.tanh(torch.exp(x))


def gaussian(x: Tensor, width: float = 1.0) -> Tensor:
    """y = exp(-(x / width)² / 2)"""
    return torch.exp(-0.5 * (x / width).square())


# Gated products


def glu(gate: Tensor, up: Tensor) -> Tensor:
    """y = sigmoid(gate)·up"""
    return torch.sigmoid(gate) * up


def swiglu(gate: Tensor, up: Tensor) -> Tensor:
    """y = gate·sigmoid(gate)·up"""
    return F.silu(gate) * up


def geglu(gate: Tensor, up: Tensor) -> Tensor:
    """y = gate·Φ(gate)·up"""
    return F.gelu(gate) * up


def geglu_tanh(gate: Tensor, up: Tensor) -> Tensor:
    """y = gate/2·(1 + tanh(√(2/π)·(gate + 0.044715·gate³)))·up"""
    return F.gelu(gate, approximate="tanh") * up


def reglu(gate: Tensor, up: Tensor) -> Tensor:
    """y = relu(gate)·up"""
    return torch.relu(gate) * up


def relu2_glu(gate: Tensor, up: Tensor) -> Tensor:
    """y = relu(gate)²·up"""
    return torch.relu(gate).square() * up


def swiglu_clamped(gate: Tensor, up: Tensor, alpha: float = 1.702, limit: float = 7.0) -> Tensor:
    """y = g·sigmoid(alpha·g)·(u + 1), with g = min(gate, limit) and u = clamp(up, ±limit)"""
    gate = gate.clamp(max=limit)
    up = up.clamp(min=-limit, max=limit)
    return gate * torch.sigmoid(alpha * gate) * (up + 1)


def swiglu_clamped_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return 5 * torch.randn(rows, cols), 5 * torch.randn(rows, cols)


# Sums and blends


def scaled_residual(x: Tensor, branch: Tensor, scale: float = 0.5) -> Tensor:
    """y = x + scale·branch"""
    return x + scale * branch


def gated_residual(x: Tensor, branch: Tensor, gate: Tensor) -> Tensor:
    """y = x + sigmoid(gate)·branch"""
    return x + torch.sigmoid(gate) * branch


def lerp(start: Tensor, end: Tensor, weight: Tensor) -> Tensor:
    """y = start + weight·(end - start)"""
    return torch.lerp(start, end, weight)


def lerp_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.randn(rows, cols), torch.rand(rows, cols)


def addcmul(x: Tensor, a: Tensor, b: Tensor, value: float = 1.0) -> Tensor:
    """y = x + value·a·b"""
    return x + value * a * b


def product3(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """y = a·b·c"""
    return a * b * c


# Losses per element


def huber(prediction: Tensor, target: Tensor, delta: float = 1.0) -> Tensor:
    """y = e²/2 where |e| ≤ delta, delta·(|e| - delta/2) otherwise, with e = prediction - target"""
    return F.huber_loss(prediction, target, reduction="none", delta=delta)


def smooth_l1(prediction: Tensor, target: Tensor, beta: float = 1.0) -> Tensor:
    """y = e²/(2·beta) where |e| < beta, |e| - beta/2 otherwise, with e = prediction - target"""
    return F.smooth_l1_loss(prediction, target, reduction="none", beta=beta)


def log_cosh(prediction: Tensor, target: Tensor) -> Tensor:
    """y = log cosh(e) = e + log(1 + e⁻²ᵉ) - log 2, with e = prediction - target"""
    error = prediction - target
    return error + F.softplus(-2 * error) - math.log(2)


def pinball(prediction: Tensor, target: Tensor, quantile: float = 0.9) -> Tensor:
    """y = max(quantile·e, (quantile - 1)·e), with e = target - prediction"""
    error = target - prediction
    return torch.maximum(quantile * error, (quantile - 1) * error)


def bce_with_logits(logits: Tensor, target: Tensor) -> Tensor:
    """y = -target·log sigmoid(logits) - (1 - target)·log sigmoid(-logits)"""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def bce_with_logits_inputs(rows: int, cols: int) -> tuple[Tensor, ...]:
    return torch.randn(rows, cols), torch.rand(rows, cols)


def dpo_sigmoid(chosen: Tensor, rejected: Tensor, beta: float = 0.1) -> Tensor:
    """y = -log sigmoid(beta·(chosen - rejected))"""
    return -F.logsigmoid(beta * (chosen - rejected))
