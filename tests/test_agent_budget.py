"""What an agent may spend: counted from usage fields, refused before it is overdrawn."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench import workflow
from workbench.agent.budget import LEAST_OUTPUT, MOST_OUTPUT, Budget
from workbench.agent.model import Reply
from workbench.agent.prices import Usage, facts
from workbench.agent.transcript import Begun, Entry, Replied, Result, Said, Transcript, replies
from workbench.authors import Assignment
from workbench.errors import LimitReached, StorageError
from workbench.limits import FLAGS, Limits
from workbench.tiers import tiers

MODEL = "claude-opus-5-5"
PRICE = facts(MODEL).price
assert PRICE is not None
COUNTS = st.integers(0, 100_000)
USAGES = st.builds(
    Usage, input=COUNTS, cache_read=COUNTS, cache_write_5m=COUNTS, cache_write_1h=COUNTS,
    output=st.integers(0, MOST_OUTPUT),
)  # fmt: skip


def test_every_price_is_whole_and_sane() -> None:
    for name in ("claude-opus-5-5", "claude-sonnet-5-5", "claude-fable-5-1", "claude-haiku-4-5"):
        price = facts(name).price
        assert price is not None
        assert price.cache_read < price.input < price.cache_write_5m < price.cache_write_1h
        assert price.output == 5 * price.input
    assert facts("claude-haiku-5-5").price is None
    assert facts("nobody").thinking is None


def test_a_price_is_per_million() -> None:
    usage = Usage(input=10**6, output=10**6, cache_read=10**6, cache_write_5m=10**6)
    assert PRICE is not None
    assert PRICE.of(usage) == pytest.approx(4 + 20 + 0.2 + 5)
    assert (usage.prompt, usage.tokens) == (3 * 10**6, 4 * 10**6)


@given(st.lists(USAGES, max_size=30), st.floats(0.01, 10))
def test_dollars_are_never_overdrawn(usages: list[Usage], dollars: float) -> None:
    """A reply that keeps to what it is allowed, with a prompt as long as was thought."""
    budget = Budget(Limits(dollars=dollars), PRICE)
    for usage in usages:
        try:
            most = budget.output(usage.prompt)
        except LimitReached as error:
            assert f"the limit of ${dollars:g}" in str(error)
            break
        assert LEAST_OUTPUT <= most <= MOST_OUTPUT
        kept = usage.model_copy(update={"output": min(usage.output, most)})
        budget.begun(MODEL, kept.model_copy(update={"output": 1}))
        budget.replied(MODEL, kept, 1.0)
        assert budget.spent.dollars <= dollars * (1 + 1e-9)


@pytest.mark.parametrize(
    ("limits", "says"),
    [
        ({"turns": 2}, "2 turns"),
        ({"tokens": 20_000}, "20,000 tokens"),
        ({"dollars": 0.1}, r"\$0\.1"),
        ({"minutes": 1.5}, "1.5 minutes"),
    ],
)
def test_a_limit_is_named_with_its_flag(limits: dict[str, float], says: str) -> None:
    budget = Budget(Limits.model_validate(limits), PRICE)
    assert [budget.left()] == budget.limits.words()
    with pytest.raises(LimitReached, match=f"the limit of {says}") as caught:
        for _ in range(30):
            budget.output(1000)
            budget.replied(MODEL, Usage(input=5000, output=100), 45)
    assert caught.value.hint == FLAGS[next(iter(limits))]
    assert caught.value.exit_code == 4


def test_without_a_price_dollars_are_no_limit() -> None:
    budget = Budget(Limits(turns=9, dollars=1), None)
    assert (budget.left(), budget.facts()) == ("9 turns", ["0 turns", "0 tokens"])


def test_what_broke_off_counts_once() -> None:
    budget = Budget(Limits(), PRICE)
    lost, whole = Usage(input=1000, output=1), Usage(input=1000, output=500)
    for usage in (lost, lost, lost):
        budget.begun(MODEL, usage)
    budget.replied(MODEL, whole, 0)
    assert (budget.spent.turns, budget.spent.tokens) == (1, 2 * 1001 + 1500)


def test_every_tier_has_limits_that_options_change() -> None:
    found = [tier.limits for tier in tiers()]
    assert [limits.dollars for limits in found] == [4, 8, 20]
    assert all(None not in limits.model_dump().values() for limits in found)
    agent = workflow.load("kernel-dev").agent()
    assert agent is not None
    assert all(limits.repairs < agent.attempts for limits in found)
    changed = found[0].changed({"dollars": 9.5, "model": "claude-opus-5"})
    assert (changed.dollars, changed.turns) == (9.5, found[0].turns)


def reply(words: str, stop_reason: str = "end_turn") -> Reply:
    content = [{"type": "text", "text": words}]
    return Reply(content=content, stop_reason=stop_reason, usage=Usage(output=3))


def said(words: str) -> Said:
    return Said(message={"role": "user", "content": words})


def replied(words: str, stop_reason: str = "end_turn") -> Replied:
    return Replied(model=MODEL, reply=reply(words, stop_reason), seconds=1)


def write(path: Path, *entries: Entry) -> None:
    transcript = Transcript(path)
    for entry in entries:
        transcript.append(entry)


def test_a_transcript_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "relu2-1" / "transcript.jsonl"
    entries = [said("a"), Begun(model=MODEL, usage=Usage()), replied("b")]
    write(path, *entries)
    again = Transcript(path)
    assert again.take(Begun) is None
    assert [again.take(type(entry)) for entry in entries] == entries
    assert again.take(Result) is None


@given(st.integers(1, 400), st.text(max_size=20))
def test_a_line_that_a_kill_cut_short_never_was(cut: int, words: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "transcript.jsonl"
        write(path, said(words), replied(words))
        whole = path.read_bytes()
        path.write_bytes(whole[: max(0, len(whole) - cut)])
        transcript = Transcript(path)
        while transcript.take(Said) or transcript.take(Replied):
            pass
        transcript.append(said("next"))
        lines = [json.loads(line)["kind"] for line in path.read_text().splitlines()]
        assert lines in (["request", "reply", "request"], ["request"] * 2, ["request"])


def test_what_was_refused_first_is_not_replayed(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    entries = [said("a"), replied("no", "refusal"), replied("yes"), said("b"), replied("done")]
    write(path, *entries)
    assert replies(path) == [reply("yes"), reply("done")]


def test_what_was_never_taken_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    write(path, said("a"))
    with pytest.raises(StorageError, match="goes on otherwise"):
        write(path, said("b"))


def test_what_is_no_transcript_says_so(tmp_path: Path) -> None:
    path = tmp_path / "transcript.jsonl"
    path.write_text('{"kind": "gossip"}\n')
    with pytest.raises(StorageError, match="is no transcript"):
        Transcript(path)


def test_an_assignment_knows_its_run() -> None:
    parts = {"profile": None, "reference": None, "root": Path("/")}
    assert Assignment(**parts, folder=Path("/runs/relu2-12ab")).run == "relu2-12ab"  # type: ignore[arg-type]
