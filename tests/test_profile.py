"""Profiles: the tier read off the graphs, with the nodes that decided it, and the floor."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.errors import TierError
from workbench.profile import analyze
from workbench.reference import find, load

CASES = {
    "x + x.roll(1, -1)": (3, ""),
    "x @ x.T @ x": (3, "matmul: forward node mm"),
    "x.cumsum(-1)": (3, "scan: forward node cumsum"),
    "x.sort(-1).values": (3, "sort: forward node sort"),
    "x - x.mean(0)": (3, "several passes"),
    "torch.exp(x) * 2": (1, "every node is element-wise"),
    "x - x.mean(-1, keepdim=True)": (2, "row reduction: forward node mean"),
}


@pytest.mark.parametrize("expression", CASES)
def test_the_tier_comes_from_the_graphs(tmp_path: Path, expression: str) -> None:
    tier, reason = CASES[expression]
    file = tmp_path / "f.py"
    file.write_text(f"import torch\ndef f(x: torch.Tensor):\n    return {expression}\n")
    profile = analyze(load(f"{file}:f"), "f")
    assert profile.tier == tier
    assert reason in "; ".join(profile.reasons)


def test_a_weight_makes_the_backward_a_batch_reduction() -> None:
    profile = analyze(find("bias_gelu"), "bias_gelu")
    assert profile.tier == 2
    assert profile.reasons == ("batch reduction: backward node sum_1 = aten.sum.dim_IntList",)


def test_what_is_saved_recomputed_and_moved() -> None:
    profile = analyze(find("rms_norm"), "rms_norm")
    assert profile.saved == ("input", "weight", "rstd")
    assert {"row_sum", "batch_sum", "rsqrt"} <= set(profile.float32_steps)
    assert profile.forward is not None and profile.backward is not None
    assert (profile.forward.reads, profile.forward.writes) == (1, 1)
    assert (profile.backward.reads, profile.backward.writes) == (2, 1)


def test_another_tier_is_refused_with_the_nodes_and_can_be_forced() -> None:
    profile = analyze(find("softmax"), "softmax")
    with pytest.raises(TierError, match="row reduction: forward node amax") as caught:
        profile.as_tier(1)
    assert "--force-tier" in caught.value.hint
    forced = profile.as_tier(1, force=True)
    assert (forced.tier, forced.traced_tier) == (1, 2)
