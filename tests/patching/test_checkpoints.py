"""Checkpoints that keep attention's results, up to a limit."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from calls import Calls
from models import model, same_step, step, tokens
from torch import Tensor, nn
from torch.utils.checkpoint import CheckpointPolicy, SelectiveCheckpointContext, checkpoint

from workbench_kernels.patching import patch
from workbench_kernels.patching.checkpoints import keep_attention
from workbench_kernels.patching.verdicts import Verdicts

VERDICTS = Verdicts()
LAYERS = 2
SIZE = 2 * 9 * 32 * 4  # bytes of a layer's result: 2 rows of 9 tokens, 32 features
ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"


def _checkpointed(made: nn.Module, limit: int | None) -> Any:
    """What its checkpoints are made by."""
    given = keep_attention(limit)
    made.activation_checkpointing_enable(given)
    made.enable_input_require_grads()
    return given["context_fn"]


def _forwards(made: nn.Module) -> int:
    with Calls() as calls:
        step(made)
    assert calls.ops[f"{ATTENTION}_backward"] == LAYERS
    return calls.ops[ATTENTION]


@pytest.mark.parametrize("served", [False, True])
@pytest.mark.parametrize("kind", ["llama", "qwen3"])
@pytest.mark.parametrize(("limit", "again"), [(None, 0), (LAYERS * SIZE, 0), (SIZE, 1), (0, 2)])
def test_what_is_kept_is_not_computed_again(
    kind: str, served: bool, limit: int | None, again: int
) -> None:
    made = model(kind)
    before = step(made)
    if served:
        patch(made, verdicts=VERDICTS)
    _checkpointed(made, limit)
    same_step(before, step(made))
    assert _forwards(made) == LAYERS + again
    assert _forwards(made) == LAYERS + again  # what a step kept is free for the next


def test_it_counts_what_it_holds() -> None:
    made = model("llama")
    checkpoints = _checkpointed(made, None)
    loss = made(input_ids=tokens(), labels=tokens()).loss
    assert checkpoints.held == LAYERS * SIZE
    loss.backward()
    del loss
    assert checkpoints.held == 0
    with torch.no_grad():
        made(input_ids=tokens())
    assert checkpoints.held == 0


def test_a_forward_without_a_backward_gives_back_what_it_held() -> None:
    made = model("llama")
    checkpoints = _checkpointed(made, SIZE)
    dropped = made(input_ids=tokens(), labels=tokens()).loss
    assert checkpoints.held == SIZE
    del dropped
    assert checkpoints.held == 0


def _kept(checkpoints: Any, layers: int) -> list[int]:
    """Which of so many layers' results one forward keeps."""
    op = getattr(torch.ops.aten, ATTENTION).default
    heads = torch.randn(2, 2, 9, 16)
    alive = [checkpoints() for _ in range(layers)]
    answers = [
        forward.policy_fn(SelectiveCheckpointContext(is_recompute=False), op, heads, heads, heads)
        for forward, _ in alive
    ]
    return [one for one, said in enumerate(answers) if said == CheckpointPolicy.MUST_SAVE]


def test_the_last_layers_are_kept_as_soon_as_it_is_known_which() -> None:
    checkpoints = keep_attention(2 * SIZE)["context_fn"]
    assert _kept(checkpoints, 5) == [0, 1]
    assert _kept(checkpoints, 5) == [3, 4]
    assert _kept(checkpoints, 3) == []  # a shorter one
    assert _kept(checkpoints, 3) == [1, 2]
    assert _kept(checkpoints, 5) == [1, 2]  # a longer one
    assert _kept(checkpoints, 5) == [3, 4]
    assert checkpoints.held == 0


def test_any_function_that_is_checkpointed() -> None:
    """Heads of values narrower than those of queries."""
    given = keep_attention()
    x = torch.randn(1, 2, 5, 16, requires_grad=True)

    def attends(x: Tensor) -> Tensor:
        return nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True).sin()

    with Calls() as calls:
        y = checkpoint(attends, x, **given)
        assert given["context_fn"].held == x.numel() * 4
        y.sum().backward()
    assert calls.ops[ATTENTION] == 1
    wanted = torch.autograd.grad(attends(x).sum(), x)[0]
    torch.testing.assert_close(x.grad, wanted)


def test_who_asks_again_is_answered_the_same() -> None:
    """As PyTorch did before 2.13, while it computes again."""
    checkpoints = keep_attention(SIZE)["context_fn"]
    forward, _again = checkpoints()
    op = getattr(torch.ops.aten, ATTENTION).default
    heads = torch.randn(2, 2, 9, 16)
    said = [
        forward.policy_fn(SelectiveCheckpointContext(is_recompute=again), op, heads, heads, heads)
        for again in (False, False, True, True)
    ]
    kept, computed = CheckpointPolicy.MUST_SAVE, CheckpointPolicy.PREFER_RECOMPUTE
    assert said == [kept, computed, kept, computed]


def test_a_limit_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 bytes"):
        keep_attention(-1)
