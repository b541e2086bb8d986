"""Patched models spread over processes."""

from __future__ import annotations

import pytest
from ranks import STEPS, WAYS, train


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, list[float]]]]:
    return train(tmp_path_factory.mktemp("ranks"))


@pytest.mark.parametrize("way", WAYS)
def test_two_processes_learn_what_they_learnt(
    way: str, trained: dict[str, list[dict[str, list[float]]]]
) -> None:
    for losses in trained[way]:
        assert losses["patched"] == pytest.approx(losses["plain"], rel=1e-4)
        assert len(losses["plain"]) == STEPS and losses["plain"][-1] < losses["plain"][0]
