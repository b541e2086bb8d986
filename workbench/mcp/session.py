"""One agent's session: which run it writes for, and its calls, handed to the loop in order.

A thread drives the run. It waits in the author's stage for the next call, and goes on to the judge
when the op is submitted. What a person decides is in none of the tools.
"""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import anyio
import anyio.from_thread
import anyio.lowlevel
import anyio.to_thread
from pydantic import Field, ValidationError

from workbench.agent.checks import EngineChecks
from workbench.agent.files import Files, ToolError
from workbench.agent.tools import Arguments, Toolbox, problems, schema
from workbench.authors import MCP
from workbench.crash import keep_traceback
from workbench.errors import BadReference, Interrupted, RunError, WorkbenchError
from workbench.mcp.author import McpAuthor
from workbench.mcp.seat import Answer, Seat
from workbench.repository import Repository
from workbench.runs import Run, StageResult, State, stages
from workbench.runs.engine import Context, Engine, StageFunction

Tell = Callable[[str], Awaitable[None]]
# Of a call's arguments, as JSON: what a file of the most bytes needs, whatever it has in it.
MOST_ARGUMENTS = 1_500_000
MOST_LISTED = 20
_WAITING = (State.OPEN, State.PARKED)


class Start(Arguments):
    """Begin a run for a new op. What you need to write it is the answer. A run that is open here is
    left as it is, and can be opened again.
    """

    name: str = Field(description="Of the op, as in rms_norm.")
    reference: str | None = Field(
        default=None,
        description="FILE.py:FUNCTION in the repository, as committed; else it is looked up in the "
        "catalogue by the name.",
    )
    tier: int | None = Field(default=None, description="Stop if the op is of another tier.")


class Open(Arguments):
    """Go on with a run that waits for its agent. A run that is open here is left as it is."""

    run: str = Field(description="Its id, or what it begins with.")


class Status(Arguments):
    """Say how far the open run is, and which others wait for an agent."""


class Session:
    """What one agent does by its calls, in a repository. `options` are a person's limits."""

    def __init__(
        self,
        repository: Repository,
        stage_functions: Mapping[str, StageFunction] = stages.STAGES,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        own = {**stage_functions, "generate": self._generate}
        self._engine = Engine(repository, own, self)
        self._options = dict(options or {})
        self._seat: Seat | None = None
        self._run = ""
        self._lock = anyio.Lock()
        # From the thread that drives: answers to calls, and what it does meanwhile.
        self._send, self._receive = anyio.create_memory_object_stream[Answer | str](math.inf)
        self._owed, self._gone = 0, False

    def schemas(self) -> list[dict[str, Any]]:
        """The tools: those that begin, and the author's own, as its toolbox has them."""
        begin = [schema("start", Start), schema("open", Open), schema("status", Status)]
        root = self._engine.repository.root
        authors = Toolbox(Files(root, ""), EngineChecks(root, "", self.doing))
        return [*begin, *authors.schemas]

    async def call(self, tool: str, given: Mapping[str, Any], tell: Tell) -> Answer:
        """What a call leads to; one that can't be carried out is answered with why."""
        try:
            if len(json.dumps(given)) > MOST_ARGUMENTS:
                raise ToolError(f"a call may have {MOST_ARGUMENTS} characters of arguments")
            if tool == "status":
                Status.model_validate(given)
                return Answer((await anyio.to_thread.run_sync(self._status),))
            async with self._lock:
                missed = await self._missed(tell)
                answer = await self._carry_out(tool, given, tell)
                return Answer((*missed, *answer.texts), answer.is_error)
        except ValidationError as error:
            return Answer((problems(error),), is_error=True)
        except (ToolError, WorkbenchError) as error:
            return _refused(error)

    def close(self) -> None:
        """The agent is gone: its run is free for the next one at once, unless it is judged now,
        which ends with the process, as if killed.
        """
        self._gone = True
        if self._seat is not None:
            self._seat.leave()
            self._thread.join(timeout=1)

    # The protocol's side

    async def _carry_out(self, tool: str, given: Mapping[str, Any], tell: Tell) -> Answer:
        if tool == "start":
            asked = Start.model_validate(given)
            await self._leave(tell)
            self._drive(lambda: self._start(asked.name, asked.reference, asked.tier))
        elif tool == "open":
            run = self._waiting(Open.model_validate(given).run)
            await self._leave(tell)
            self._drive(lambda: self._open(run.id))
        elif self._seat is None:
            raise ToolError("no run is open here: call start, open, or status")
        else:
            self._owed += 1
            self._seat.call(tool, given)
        return await self._answer(tell)

    async def _answer(self, tell: Tell) -> Answer:
        while isinstance(said := await self._receive.receive(), str):
            await tell(said)
        self._owed -= 1
        if said.over:
            self._seat = None
        return said

    async def _missed(self, tell: Tell) -> list[str]:
        """Answers to calls that were given up before they came."""
        texts: list[str] = []
        while self._owed:
            texts += ["To the call before:", *(await self._answer(tell)).texts, "To this one:"]
        return texts

    async def _leave(self, tell: Tell) -> None:
        if self._seat is not None:
            self._owed += 1
            self._seat.leave()
            await self._answer(tell)

    def _waiting(self, prefix: str) -> Run:
        """The run, if an agent may go on with it. What was judged is a person's."""
        run = self._engine.store.find(prefix)
        if run.request.author != MCP:
            raise RunError(f"run {run.id} is written by {run.request.author}, not by an agent here")
        if run.state not in _WAITING:
            raise RunError(f"run {run.id} is not its agent's any more: it is {run.state}")
        return run

    # The side of the thread that drives

    def _drive(self, go: Callable[[], Run]) -> None:
        token = anyio.lowlevel.current_token()

        def send(item: Answer | str) -> None:
            if self._gone:
                return  # this thread is waited for by the one that would listen
            with suppress(anyio.RunFinishedError, anyio.BrokenResourceError):
                anyio.from_thread.run_sync(self._send.send_nowait, item, token=token)

        def drive() -> None:
            try:
                answer = self._ended(go())
            except Interrupted:
                answer = Answer(("left",), over=True)
            except WorkbenchError as error:
                answer = _refused(error, over=True)
            except BaseException as bug:  # whatever it is, a call waits for its answer
                where = f"the traceback is {keep_traceback()}; the run is kept"
                answer = _refused(
                    WorkbenchError(f"a bug in the workbench: {type(bug).__name__}: {bug}", where),
                    over=True,
                )
            send(answer)

        self._send_from_thread, self._seat, self._owed = send, Seat(send), self._owed + 1
        self._thread = threading.Thread(target=drive, name="run", daemon=True)
        self._thread.start()

    def _start(self, name: str, reference: str | None, tier: int | None) -> Run:
        self._engine.repository.check_new_op(name)
        if reference is not None:
            self._check_committed(reference)
        request = stages.request(name, reference, tier, False, MCP, self._options)
        return self._engine.start(request)

    def _open(self, run: str) -> Run:
        self._run = run
        return self._engine.resume(run, self._options)

    def _check_committed(self, reference: str) -> None:
        """A file of a reference is run, here and unconfined: only one that HEAD has will do."""
        repository = self._engine.repository
        path = reference.rpartition(":")[0]
        entry = repository.tree(repository.head()).get(path)
        file = repository.root.resolve() / path
        if (
            entry is not None
            and entry.is_file
            and file.is_file()
            and file.resolve() == file
            and repository.blobs([entry.object]) == [file.read_bytes()]
        ):
            return
        raise BadReference(
            f"{path or reference} is not a file of the repository as it is committed",
            "a person commits it first, or begins: workbench new NAME --reference FILE.py:FUNCTION "
            f"--author {MCP}",
        )

    def _generate(self, context: Context) -> StageResult:
        self._run = context.run.id
        return stages.written(McpAuthor(self._seat), context)

    def _ended(self, run: Run) -> Answer:
        return Answer((_story(run),), is_error=run.state is State.FAILED, over=True)

    def _status(self) -> str:
        store = self._engine.store
        others = [
            f"{run.id} waits for an agent ({run.state})"
            for run in store.all()
            if run.request.author == MCP and run.state in _WAITING and run.id != self._run
        ]
        here = _story(store.find(self._run)) if self._run else "No run was opened here."
        return "\n".join([here, *others[:MOST_LISTED]])

    # What a run tells of its progress

    def started(self, stage: str) -> None:
        """A stage begins."""
        self.doing(stage)

    def doing(self, what: str) -> None:
        """The stage that runs is at this now."""
        self._send_from_thread(what)

    def finished(self, stage: str, result: StageResult) -> None:
        """A stage ended."""
        self.doing(f"{stage}: {'done' if result.ok else 'failed'}")


def _story(run: Run) -> str:
    """How far a run is, in words for its agent: of a verdict it hears what an author may know."""
    lines = [f"Run {run.id} ({run.op}) is {_STATES.get(run.state, str(run.state))}"]
    for record in run.records:
        if record.superseded:
            continue
        found = record.result
        facts = found.summary if found.ok else [found.findings or found.problem]
        lines.append(f"{record.stage}: {' · '.join(facts)}")
    return "\n".join(lines)


_STATES = {
    State.OPEN: "open: it waits for its agent, or is judged now.",
    State.PARKED: "parked: a person may allow it more, or an agent open it again.",
    State.REVIEW: "right as far as the judge can tell, and waits for a person to review it. "
    "There is nothing left for you to do with it.",
    State.FAILED: "failed, and a person's to decide about.",
}


def _refused(error: Exception, over: bool = False) -> Answer:
    hint = getattr(error, "hint", "")
    return Answer((f"{error}\n{hint}" if hint else str(error),), is_error=True, over=over)
