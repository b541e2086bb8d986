"""An agent that isn't ours, over the Model Context Protocol: the command, and the SDK's client."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from agent_runs import FOLDER, OP, Sources, drafted, engine, request, wrong
from helpers_agent import CHEAP, SECRET, passes
from mcp import ClientSession, StdioServerParameters, stdio_client
from mcp.types import CallToolResult, TextContent
from runs_fixtures import APPROVER, everything, git, library
from test_agent_command import HELPER
from test_kill import real_library

from workbench import authors
from workbench.agent.checks import EngineChecks
from workbench.errors import AgentAway, RepositoryError, UsageError
from workbench.mcp import command, server
from workbench.mcp.author import McpAuthor
from workbench.mcp.session import Session
from workbench.repository import Repository
from workbench.runs import State, stages

__all__ = ["drafted", "library"]
TESTS = Path(__file__).parent
FILES = ("kernel.py", "wrapper.py", "test")
BEGIN = {"start", "open", "status"}
# On a machine without a GPU.
AUTHORS = {"list", "read", "search", "write", "edit", "verify", "compile", "submit"}
# What a person does, by all the names it has.
PERSONS = ("approve", "reject", "abort", "resume", "commit", "merge", "confirm", "new", "shell")


@asynccontextmanager
async def agent(
    root: Path, *flags: str, script: tuple[str, ...] = HELPER
) -> AsyncIterator[ClientSession]:
    """A client of `workbench mcp` in a process of its own."""
    path = os.pathsep.join([str(TESTS.parent), str(TESTS.parent / "kernels"), str(TESTS)])
    environment = {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "ANTHROPIC_API_KEY": "sk-hidden"}
    server = StdioServerParameters(
        command=sys.executable, args=[*script, "mcp", *flags], env=environment, cwd=root
    )
    async with stdio_client(server) as (read, write), ClientSession(read, write) as session:
        await session.initialize()
        yield session


def talk(script: Callable[[], Awaitable[None]], seconds: float = 100) -> None:
    """Run a test's conversation."""

    async def limited() -> None:
        with anyio.fail_after(seconds):
            await script()

    anyio.run(limited)


def said(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


async def call(session: ClientSession, tool: str, **arguments: Any) -> str:
    """A call that is carried out."""
    result = await session.call_tool(tool, arguments)
    assert not result.is_error, said(result)
    return said(result)


async def refused(session: ClientSession, tool: str, **arguments: Any) -> str:
    """A call that is not."""
    result = await session.call_tool(tool, arguments)
    assert result.is_error, said(result)
    return said(result)


async def writes(session: ClientSession, sources: Sources) -> None:
    for name in FILES:
        await call(session, "write", file=name, text=sources[name])


def test_an_agent_writes_repairs_and_stops_at_the_review(library: Path, drafted: Sources) -> None:
    """No call leads past the review, whatever it is; a person's command does, and a replay of the
    run gives the same bytes.
    """
    before = everything(library)

    async def script() -> None:
        async with agent(library) as session:
            tools = (await session.list_tools()).tools
            assert {tool.name for tool in tools} == BEGIN | AUTHORS
            task = await call(session, "start", name=OP, tier=1)
            assert "You write Triton kernels" in task and drafted["spec.py"].strip() in task
            assert '"""' in await call(session, "read", path=f"{FOLDER}/spec.py")
            await writes(session, wrong(drafted))
            assert await call(session, "verify") == f"passed: {OP}\nLeft: no limit."
            found = await call(session, "submit")
            assert "dx is 0.85" in found and SECRET not in found and "2 times more" in found
            await call(session, "edit", file="kernel.py", old="# wrong\n", new="")
            reviewed = await call(session, "submit")
            assert "waits for a person to review it" in reviewed
            for tool in [*PERSONS, *AUTHORS]:
                assert "run" in await refused(session, tool, run=OP, reason="fine")
            assert "not its agent's any more: it is review" in await refused(
                session, "open", run=OP
            )
            assert "waits for a person" in await call(session, "status")

    talk(script)
    runs = engine(library)
    run = runs.store.find(OP)
    assert (run.state, run.approval, run.request.author) == (State.REVIEW, None, "mcp")
    assert everything(library) == before
    latest = run.latest("generate")
    assert latest is not None and latest.result.summary[:2] == ["mcp author", "8 calls"]
    again = runs.start(
        run.request.model_copy(update={"author": stages.author("replay:" + run.id, {}, runs.store)})
    )
    assert [record.content for record in again.records] == [r.content for r in run.records]
    run = runs.approve(run.id, APPROVER)
    assert git(library, "show", f"workbench/{run.id}:{FOLDER}/kernel.py") == (
        drafted["kernel.py"].strip()
    )


@pytest.mark.parametrize("seed", [1, 2])
def test_no_sequence_of_calls_commits(
    library: Path, drafted: Sources, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Calls at random, of tools that there are and of such as a person has."""
    monkeypatch.setattr(EngineChecks, "verify", passes)
    monkeypatch.setattr(Repository, "write_commit", None)
    monkeypatch.setattr(Repository, "move_branch", None)
    before, draw = everything(library), random.Random(seed)
    session = Session(Repository.discover(library), stages.STAGES | CHEAP)
    sources = [drafted, wrong(drafted)]

    def arguments(tool: str) -> dict[str, Any]:
        named: dict[str, dict[str, Any]] = {
            "start": {"name": draw.choice([OP, "silu"])},
            "open": {"run": draw.choice([OP, "silu", "r", "nothing"])},
            "list": {"path": "."},
            "read": {"path": f"{FOLDER}/spec.py"},
            "search": {"text": "tl.load"},
            "edit": {"file": "kernel.py", "old": "# wrong\n", "new": ""},
        }
        given = {"run": OP, "reason": "fine"} if tool in PERSONS else {}
        return named.get(tool, given)

    called: list[str] = []

    async def tell(doing: str) -> None: ...

    async def script() -> None:
        usual = ["start", "write", "write", "submit", "submit", "edit", "open", "status"]
        tools = [*usual * 2, *PERSONS, *sorted(AUTHORS - {"compile"})]
        for tool in ["start", "write", *draw.choices(tools, k=40)]:
            called.append(tool)
            if tool == "write":
                chosen = draw.choice(sources)
                for name in FILES:
                    await session.call("write", {"file": name, "text": chosen[name]}, tell)
            else:
                answer = await session.call(tool, arguments(tool), tell)
                assert answer.is_error or tool not in PERSONS
        session.close()

    talk(script)
    found = engine(library).store.all()
    assert found and all(run.approval is None for run in found)
    states = {run.state for run in found}
    assert State.REVIEW in states, called  # or nothing was tried
    assert states <= {State.OPEN, State.PARKED, State.FAILED, State.REVIEW}
    assert everything(library) == before
    assert git(library, "log", "--all", "--oneline", "--format=%s") == "Begin the library"


def test_an_approved_run_is_not_an_agents_to_finish(
    library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed between the approval and the commit, it is finished by a person's resume."""
    runs = engine(library)
    with pytest.raises(AgentAway):
        runs.start(request("mcp"))
    (run,) = runs.store.all()
    session = Session(runs.repository, stages.STAGES | CHEAP)

    async def tell(doing: str) -> None: ...

    async def script() -> None:
        for state in State:
            if state not in (State.OPEN, State.PARKED):
                runs.store.save(run.model_copy(update={"state": state}))
                answer = await session.call("open", {"run": run.id}, tell)
                assert answer.is_error and f"it is {state}" in answer.texts[0]

    talk(script)


def test_what_is_told_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-ant-hidden-1234")
    blocks = server._content(("a sk-ant-hidden-1234", "x" * 999_999, "y"))
    texts = [block.text for block in blocks if isinstance(block, TextContent)]
    assert "hidden" not in texts[0]
    assert sum(map(len, texts)) < server.MOST_CHARACTERS + 100


def test_killed_and_opened_again(library: Path, drafted: Sources) -> None:
    """What was called stays done; the agent that comes next is told how far it is."""

    async def begins() -> None:
        async with agent(library) as session:
            await call(session, "start", name=OP)
            await call(session, "write", file="kernel.py", text=wrong(drafted)["kernel.py"])
            run = engine(library).store.find(OP)
            lock = engine(library).store.folder_of(run.id) / "lock"
            os.kill(int(lock.read_text()), signal.SIGKILL)

    async def goes_on() -> None:
        async with agent(library) as session:
            assert f"{OP}-" in await call(session, "status")
            task = await call(session, "open", run=OP)
            assert "You write Triton kernels" in task
            assert "after 1 calls, the last of them write; its answer:\nkernel.py has" in task
            assert "# wrong" in await call(session, "read", path=f"{FOLDER}/kernel.py")
            await writes(session, wrong(drafted))
            with anyio.move_on_after(0.01):  # an answer nobody waits for comes with the next
                await session.call_tool("submit", {})
            await call(session, "edit", file="kernel.py", old="# wrong\n", new="")
            told: list[str | None] = []

            async def tell(done: float, total: float | None, message: str | None) -> None:
                told.append(message)

            submitted = await session.call_tool("submit", {}, progress_callback=tell)
            assert "waits for a person" in said(submitted) and "verify" in told

    talk(begins)
    runs = engine(library)
    run = runs.store.find(OP)
    assert (run.state, [record.stage for record in run.records]) == (State.OPEN, ["analyze"])
    # Without an agent the command parks it, and says where it waits.
    with pytest.raises(AgentAway, match=f"run {run.id} waits for its agent"):
        runs.resume(run.id)
    assert runs.store.find(OP).state is State.PARKED
    talk(goes_on)
    assert runs.store.find(OP).state is State.REVIEW


def test_what_can_not_be_done_is_a_tools_error(library: Path, tmp_path: Path) -> None:
    """Paths are confined, arguments checked, no file is run that nobody committed."""
    ran = tmp_path / "ran"
    (library / "mine.py").write_text(f"open({str(ran)!r}, 'w')\ndef f(x): return x\n")
    (library / "out.py").symlink_to(tmp_path / "away.py")

    async def script() -> None:
        async with agent(library, "--max-turns", "6") as session:
            assert "no run is open here" in await refused(session, "read", path=".")
            assert "no reference is named" in await refused(session, "start", name="nothing")
            assert "name: Field required" in await refused(session, "start")
            for reference in ("mine.py:f", "out.py:f", "../x.py:f", "/etc/passwd:f", "f"):
                refusal = await refused(session, "start", name="mine", reference=reference)
                assert "as it is committed" in refusal
            assert "no run 'other'" in await refused(session, "open", run="other")
            await call(session, "start", name=OP)
            outside = await refused(session, "read", path="../../../../etc/passwd")
            assert "outside the repository" in outside and "Left: 5 turns." in outside
            assert "Input should be" in await refused(session, "write", file="spec.py", text="")
            assert "a call may have" in await refused(
                session, "write", file="test", text="a" * 2_000_000
            )
            assert "not written yet" in await refused(session, "submit")
            assert "there is no tool approve" in await refused(session, "approve", run=OP)
            await refused(session, "submit")
            assert "the limit of 6 turns is reached" in await refused(session, "submit")
            assert "no run is open here" in await refused(session, "submit")

    talk(script)
    assert not ran.exists()
    store = engine(library).store
    run = store.find(OP)
    assert run.state is State.PARKED
    with store.hold(run.id, patience=0):  # whoever hangs up lets it go
        pass


def test_who_may_be_an_author_here(library: Path) -> None:
    store = engine(library).store
    assert isinstance(authors.get("mcp"), McpAuthor)
    assert stages.author("mcp", {"turns": 3}, store) == "mcp"
    with pytest.raises(UsageError, match="not known here"):
        stages.author("mcp", {"dollars": 3}, store)


def test_the_command_says_what_it_lacks(
    tmp_path: Path, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RepositoryError, match="not inside a git repository"):
        command.mcp()
    monkeypatch.chdir(library)
    monkeypatch.setitem(sys.modules, "mcp.server.lowlevel", None)
    monkeypatch.delitem(sys.modules, "workbench.mcp.server")
    with pytest.raises(UsageError, match="SDK is not installed") as caught:
        command.mcp()
    assert "kernel-workbench[workbench,mcp]" in caught.value.hint


@pytest.mark.slow
def test_the_judge_lets_an_agents_op_pass_when_it_is_right(
    tmp_path: Path, drafted: Sources
) -> None:
    """All of it for real, once."""
    root = real_library(tmp_path / "library")

    async def script() -> None:
        async with agent(root, script=("-m", "workbench")) as session:
            await call(session, "start", name=OP)
            await writes(session, drafted)
            assert "waits for a person" in await call(session, "submit")

    talk(script, 300)
    run = engine(root).store.find(OP)
    assert (run.state, run.approval) == (State.REVIEW, None)
