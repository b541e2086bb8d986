"""Models small enough for the interpreter, of transformers' own classes, with weights that are not
those of a new one: ones in a norm hide what it does with its weight.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 61,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}


def model(kind: str, dtype: torch.dtype = torch.float32, **changes: Any) -> nn.Module:
    """A causal language model of this type, the same each time."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.for_model(kind, **{**SIZES, **changes})
    with torch.random.fork_rng():
        torch.manual_seed(0)
        made = AutoModelForCausalLM.from_config(config)
        for parameter in made.parameters():
            parameter.data.add_(0.1 * torch.randn_like(parameter))
    return made.to(dtype).train()  # type: ignore[no-any-return]


def tokens(count: int = 9) -> Tensor:
    """Two rows of so many tokens."""
    return torch.randint(3, 61, (2, count), generator=torch.Generator().manual_seed(1))


Step = tuple[Tensor, dict[str, Tensor]]


def step(made: nn.Module) -> Step:
    """The loss, and the gradient of every parameter that has one."""
    made.zero_grad()
    loss: Tensor = made(input_ids=tokens(), labels=tokens()).loss
    loss.backward()
    named = made.named_parameters()
    return loss.detach(), {n: p.grad.clone() for n, p in named if p.grad is not None}


def launched(made: nn.Module) -> dict[str, int]:
    """The library's ops of a step, and how often."""
    from workbench.models.launches import Launches

    with Launches() as launches:
        step(made)
    return dict(launches.ops)


def same_step(
    one: tuple[Tensor, dict[str, Tensor]], other: tuple[Tensor, dict[str, Tensor]]
) -> None:
    """In float32: what sums in another order leave, and no more."""
    torch.testing.assert_close(one[0], other[0], rtol=1e-5, atol=0.0)
    assert one[1].keys() == other[1].keys()
    for name, grad in one[1].items():
        within = 2e-5 * float(grad.abs().max())
        torch.testing.assert_close(other[1][name], grad, rtol=0.0, atol=within, msg=name)
