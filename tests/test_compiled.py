"""The reference compiled several times apart, the fastest kept."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from workbench.worker import compiled as module
from workbench.worker.compiled import compiled


def scaled(x: Tensor, *, by: float = 3.0) -> Tensor:
    return x * by


def compiler(asked: list[str]) -> Callable[..., Any]:
    """One that takes the graph as it is, and notes that it was asked."""

    def compile_it(graph: torch.fx.GraphModule, example: object) -> Callable[..., Any]:
        asked.append("compiled")
        forward: Callable[..., Any] = graph.forward
        return forward

    return compile_it


def test_each_attempt_is_compiled_apart_and_the_fastest_is_kept(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, tried = list[str](), list[Callable[..., Any]]()
    x = torch.arange(3.0)

    def seconds(attempt: Callable[..., Any], example: Any) -> float:
        assert torch.equal(attempt(**example), 3 * x)
        tried.append(attempt)
        assert len(asked) == len(tried)  # none finds what an earlier one has compiled
        return (2.0, 1.0, 3.0)[len(tried) - 1]

    monkeypatch.setattr(module, "_seconds", seconds)
    assert compiled(scaled, {"x": x}, 3, backend=compiler(asked)) is tried[1]


def test_a_single_attempt_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_seconds", None)
    asked = list[str]()
    kept = compiled(scaled, {"x": torch.ones(2)}, 1, backend=compiler(asked))
    assert not asked
    assert torch.equal(kept(torch.ones(2)), torch.full((2,), 3.0)) and asked == ["compiled"]
