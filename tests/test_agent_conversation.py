"""The loop with the real SDK, over HTTP, against a server that says what a script says."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from agent_fixtures import SOURCES, Say, conversation, script, writes, written
from messages_api import KEY, USAGE, MessagesAPI, Refused, Step, call, text, thinking, turn

from workbench.agent import anthropic_model
from workbench.agent.anthropic_model import AnthropicModel
from workbench.agent.conversation import CUT_OFF, NUDGE
from workbench.agent.model import ReplayModel
from workbench.agent.transcript import FILE, replies
from workbench.errors import AuthorError, LimitReached, UsageError

MODEL = "claude-opus-5-5"


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[MessagesAPI]:
    """A server whose script is yet to be written, and the environment in which it is asked."""
    with MessagesAPI([]) as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(anthropic_model, "RETRIES", 2)
        yield server


def model(name: str = MODEL, effort: str | None = "high") -> AnthropicModel:
    return AnthropicModel(name, effort, pause=0.001)


def talk(
    api: MessagesAPI,
    folder: Path,
    steps: Sequence[Step],
    findings: Sequence[str] = (),
    checks: Say | None = None,
    asked: AnthropicModel | None = None,
    **limits: float,
) -> list[str]:
    """A conversation by this script, to its end; what was told of it."""
    api.script[:] = steps
    found, budget, told = conversation(asked or model(), folder, checks, **limits)
    found.run("You write kernels.", "Write relu2.", findings)
    return [*told, ", ".join(budget.facts())]


def test_a_good_author_writes_asks_and_submits(api: MessagesAPI, tmp_path: Path) -> None:
    checks = Say(["backward: dx is wrong", "passed"])
    told = talk(api, tmp_path, script(), checks=checks)
    assert written(tmp_path) == SOURCES
    assert checks.verified == 1
    assert api.results(3)[0]["content"] == "backward: dx is wrong"
    assert told[0] == "turn 1 · claude-opus-5-5 · 0 tokens · $0.00"
    assert told[-1] == "4 turns, 5,400 tokens, $0.01"
    one, two = api.results(1)
    assert one["content"].splitlines() == ["kernels/", "tests/"]
    assert two["content"] == 'kernels/workbench_kernels/__init__.py:1: """A library."""'


def test_what_is_sent(api: MessagesAPI, tmp_path: Path) -> None:
    talk(api, tmp_path, [turn(thinking("hm"), call("verify")), *script()[1:]])
    first, second = api.requests[:2]
    assert first["model"] == MODEL
    assert first["thinking"] == {"type": "adaptive"}
    assert first["output_config"] == {"effort": "high"}
    assert first["stream"] is True
    assert first["system"][0]["cache_control"] == {"type": "ephemeral", "ttl": "1h"}
    assert first["cache_control"] == {"type": "ephemeral"}
    assert {tool["strict"] for tool in first["tools"]} == {True}
    assert all(t["input_schema"]["additionalProperties"] is False for t in first["tools"])
    assert "approve" not in json.dumps([tool["name"] for tool in first["tools"]])
    # Thoughts go back as they came, signed; the conversation only ever grows.
    assert second["messages"][1]["content"][0] == thinking("hm")
    assert second["messages"][: len(first["messages"])] == first["messages"]
    assert api.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_model_nobody_knows_is_asked_plainly(api: MessagesAPI, tmp_path: Path) -> None:
    told = talk(api, tmp_path, script(), asked=model("llama-9", None), dollars=1)
    assert not {"thinking", "output_config"} & set(api.requests[0])
    assert told[-1] == "4 turns, 5,400 tokens"  # and no dollars, which nobody can count


def test_errors_of_tools_go_back_as_results(api: MessagesAPI, tmp_path: Path) -> None:
    steps = [
        turn(
            call("submit"),
            call("write", file="../../etc/passwd", text=""),
            call("write", file="kernel.py"),
            call("approve", run="relu2"),
            call("read", path="/etc/passwd"),
            call("read", path="kernels", first="1"),
            call("verify", seed=3),
        ),
        *script()[1:],
    ]
    talk(api, tmp_path, steps)
    found = api.results(1)
    assert [result["is_error"] for result in found] == [True] * 7
    says = [result["content"] for result in found]
    assert says[0] == "kernel.py is not written yet"
    assert says[1].startswith("file: Input should be 'kernel.py', 'wrapper.py' or 'test'")
    assert says[2] == "text: Field required"
    assert says[3].startswith("there is no tool approve: list, read,")
    assert says[4] == "'/etc/passwd' is outside the repository"
    assert says[5] == "first: Input should be a valid integer"
    assert says[6] == "seed: Extra inputs are not permitted"


def test_a_file_that_is_not_python_is_not_submitted(api: MessagesAPI, tmp_path: Path) -> None:
    broken = {**SOURCES, "kernel.py": "def f(:\n"}
    steps = [writes(broken), turn(call("submit")), writes(SOURCES), turn(call("submit"))]
    talk(api, tmp_path, steps)
    assert "isn't Python" in api.results(2)[0]["content"]
    assert written(tmp_path) == SOURCES


def test_a_finding_is_the_answer_to_a_submission(api: MessagesAPI, tmp_path: Path) -> None:
    talk(api, tmp_path, script())
    before = len(api.requests)
    again = turn(call("edit", file="kernel.py", old="1024", new="2048"))
    talk(api, tmp_path, [again, turn(call("submit"))], findings=["dx is wrong"])
    assert written(tmp_path)["kernel.py"] == SOURCES["kernel.py"].replace("1024", "2048")
    assert len(api.requests) == before + 2  # what was said before was not asked again
    told = api.requests[before]["messages"]
    assert told[: len(api.requests[before - 1]["messages"])] == api.requests[before - 1]["messages"]
    assert told[-1]["content"][1] == text("dx is wrong")


@pytest.mark.parametrize("kept", range(1, 14))
def test_a_resumed_conversation_goes_on_where_it_stopped(
    api: MessagesAPI, tmp_path: Path, kept: int
) -> None:
    """Cut short after any line, also in the middle of the next: the same files, no turn twice."""
    talk(api, tmp_path, steps := script())
    whole = (tmp_path / FILE).read_bytes().splitlines(keepends=True)
    (tmp_path / FILE).write_bytes(b"".join(whole[:kept]) + whole[kept][: len(whole[kept]) // 2])
    finished = sum(b'"kind": "reply"' in line for line in whole[:kept])
    sent = api.requests[:]
    api.requests.clear()
    talk(api, tmp_path, steps[finished:])
    assert written(tmp_path) == SOURCES
    assert [r["messages"] for r in api.requests] == [r["messages"] for r in sent[finished:]]
    assert b"".join(whole).count(b'"kind": "request"') == len(steps)


def test_a_replay_asks_nobody(api: MessagesAPI, tmp_path: Path) -> None:
    talk(api, tmp_path, script())
    asked = len(api.requests)
    stored = replies(tmp_path / FILE)
    (tmp_path / "again").mkdir()
    found, budget, _ = conversation(ReplayModel("relu2-1234", stored), tmp_path / "again")
    found.run("", "", [])
    assert written(tmp_path / "again") == written(tmp_path)
    assert (len(api.requests), budget.facts()[0]) == (asked, "4 turns")
    (tmp_path / "short").mkdir()
    short, _, _ = conversation(ReplayModel("relu2-1234", stored[:2]), tmp_path / "short")
    with pytest.raises(AuthorError, match="run relu2-1234 ends after 2 replies"):
        short.run("", "", [])


@pytest.mark.parametrize(
    "wrong",
    [
        [Refused(529, "overloaded_error"), Refused(529, "overloaded_error")],
        [Refused(429, "rate_limit_error"), Refused(500)],
        [turn(text("I will"), error="overloaded_error")],
        [turn(text("I will"), dropped=True), turn(text("I"), error="api_error")],
        [turn(call("verify") | {"input": '{"a": tru'}, dropped=True)],
        [turn(call("verify") | {"input": '{"a": nonsense}'})],
        [turn(text("I"), hangs=True)],
    ],
    ids=["529", "429 500", "overloaded in the stream", "dropped", "half", "not JSON", "silent"],
)
def test_what_passes_is_asked_again(
    api: MessagesAPI, tmp_path: Path, wrong: list[Step], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anthropic_model, "SILENT_SECONDS", 0.5)
    talk(api, tmp_path, [*wrong, *script()])
    assert written(tmp_path) == SOURCES
    assert len(api.requests) == 4 + len(wrong)
    assert len(replies(tmp_path / FILE)) == 4  # of what broke off nothing is kept but its cost


def test_a_reply_that_broke_off_is_paid_for(api: MessagesAPI, tmp_path: Path) -> None:
    told = talk(api, tmp_path, [turn(text("I"), dropped=True), *script()])
    assert told[-1] == "4 turns, 6,701 tokens, $0.01"  # 1,300 sent and 1 received, in vain


@pytest.mark.parametrize(
    ("steps", "says"),
    [
        ([Refused(401, "authentication_error", "invalid bearer token")], "401 .*invalid bearer"),
        ([Refused(400, "invalid_request_error", "prompt is too long")], "400 .*too long"),
        ([Refused(404, "not_found_error", "model: nope")], "404 .*model: nope"),
        ([Refused(529, "overloaded_error")] * 3, "529 overloaded_error"),
        ([turn(text("I"), error="overloaded_error")] * 5, "broke off 5 replies"),
        ([turn(text("I"), error="invalid_request_error")], "200 invalid_request_error"),
        ([turn(text("No."), stop_reason="refusal")], "refused to go on"),
        ([turn(text("I"), stop_reason="model_context_window_exceeded")], "longer than the model"),
    ],
)
def test_what_does_not_pass_is_reported_and_can_be_resumed(
    api: MessagesAPI, tmp_path: Path, steps: list[Step], says: str
) -> None:
    with pytest.raises(AuthorError, match=says) as caught:
        talk(api, tmp_path, [script()[0], *steps])
    assert caught.value.hint
    assert KEY not in str(caught.value)
    talk(api, tmp_path, script()[1:])
    assert written(tmp_path) == SOURCES
    assert len(api.requests[-1]["messages"]) == 7  # nothing of it stands between


def test_no_connection(api: MessagesAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setattr(anthropic_model, "RETRIES", 0)
    with pytest.raises(AuthorError, match="can't be reached"):
        talk(api, tmp_path, script())


def test_no_key(api: MessagesAPI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY")
    with pytest.raises(UsageError, match="ANTHROPIC_API_KEY is not set"):
        talk(api, tmp_path, script())


def test_a_cut_off_call_is_not_carried_out(api: MessagesAPI, tmp_path: Path) -> None:
    half = turn(call("write", file="kernel.py", text="half a f"), stop_reason="max_tokens")
    talk(api, tmp_path, [half, turn(text("..."), stop_reason="max_tokens"), *script()[1:]])
    (result,) = api.results(1)
    assert (result["content"], result["is_error"]) == (CUT_OFF, True)
    assert api.requests[2]["messages"][-1]["content"][0] == text(CUT_OFF)
    assert written(tmp_path) == SOURCES


def test_a_lazy_author_is_told_to_go_on_until_its_turns_are_spent(
    api: MessagesAPI, tmp_path: Path
) -> None:
    lazy = [turn(text("It is done.")), turn(), turn(text("Done!"))]
    with pytest.raises(LimitReached, match="the limit of 3 turns is reached"):
        talk(api, tmp_path, lazy, turns=3)
    assert [r["messages"][-1]["content"][0] for r in api.requests[1:]] == [text(NUDGE)] * 2
    assert "Left: 1 turn." in json.dumps(api.requests[-1])
    talk(api, tmp_path, script()[1:], turns=6)
    assert len(api.requests) == 6


def test_no_reply_may_cost_more_than_is_left(api: MessagesAPI, tmp_path: Path) -> None:
    told = talk(api, tmp_path, script(), dollars=0.3)
    assert told[0].endswith("$0.00 of $0.3")
    assert "Left: $0.3." in json.dumps(api.requests[0])
    most = [request["max_tokens"] for request in api.requests]
    assert most == sorted(most, reverse=True)
    spent = 4 * (100 * 4 + 1000 * 0.2 + 200 * 5 + 50 * 20) / 1e6
    assert all(tokens * 20e-6 <= 0.3 for tokens in most) and spent < 0.3
    with pytest.raises(LimitReached, match=r"may go beyond the limit of \$0\.03") as caught:
        talk(api, tmp_path / "other", script(), dollars=0.03)
    assert caught.value.hint == "--max-cost"


def test_another_model_does_not_get_the_thoughts_of_the_first(
    api: MessagesAPI, tmp_path: Path
) -> None:
    with pytest.raises(LimitReached):
        talk(api, tmp_path, [turn(thinking("hm"), call("verify")), turn(thinking("so"))], turns=2)
    talk(api, tmp_path, script()[1:], asked=model("claude-sonnet-5-5"))
    last = api.requests[-1]
    assert "hm" not in json.dumps(last["messages"])
    assert last["messages"][3]["content"] == [text("(nothing)")]


def test_the_key_is_in_no_file(api: MessagesAPI, tmp_path: Path) -> None:
    """Not even if the model says it, or a file it reads has it."""
    leaks = {**SOURCES, "test": f'KEY = "{KEY}"\n'}
    told = talk(api, tmp_path, [turn(text(KEY), call("search", text=KEY)), *script(leaks)[1:]])
    assert KEY not in (tmp_path / FILE).read_text() + json.dumps(told)
    assert "[redacted]" in (tmp_path / FILE).read_text()


def test_half_a_character_is_no_obstacle(api: MessagesAPI, tmp_path: Path) -> None:
    talk(api, tmp_path, [turn(text("\ud83d"), call("verify")), *script()[1:]])
    assert replies(tmp_path / FILE)[0].content[0] == text("?")
    assert written(tmp_path) == SOURCES


def test_usage_is_the_apis(api: MessagesAPI, tmp_path: Path) -> None:
    """A write to the cache whose lifetime isn't said is the dearer one."""
    usage = {key: value for key, value in USAGE.items() if key != "cache_creation"}
    told = talk(api, tmp_path, [turn(text("I"), usage=usage), *script()[1:]], turns=9)
    assert replies(tmp_path / FILE)[0].usage.cache_write_1h == 200
    assert told[-1].startswith("4 turns, 5,400 tokens")
