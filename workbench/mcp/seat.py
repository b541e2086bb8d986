"""The seat that somebody else's agent takes in the loop: the model whose replies are its calls."""

from __future__ import annotations

import queue
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from workbench.agent.model import Block, Message, Reply, Request
from workbench.agent.prices import Usage
from workbench.authors import MCP


@dataclass(frozen=True)
class Answer:
    """What a call returns. `over`: the run is not with its author any more."""

    texts: tuple[str, ...]
    is_error: bool = False
    over: bool = False


class Seat:
    """A model that is asked by one thread, the loop's, and speaks by another, the protocol's.

    `answer` gets what it is told: each call is answered by the next thing the loop says to it.
    """

    name = MCP

    def __init__(self, answer: Callable[[Answer], None]) -> None:
        self._answer = answer
        self._calls: queue.SimpleQueue[tuple[str, Mapping[str, Any]] | None] = queue.SimpleQueue()
        self._told = False

    def call(self, tool: str, given: Mapping[str, Any]) -> None:
        """Call a tool."""
        self._calls.put((tool, given))

    def leave(self) -> None:
        """Call nothing any more: the run stays as it is, as if its process had been killed."""
        self._calls.put(None)

    def reply(self, request: Request, begun: Callable[[Usage], None]) -> Reply:
        """The next call, once the one before is answered. No tokens can be counted.

        Raises:
            KeyboardInterrupt: the agent left.
        """
        self._answer(self._said(request))
        self._told = True
        called = self._calls.get()
        if called is None:
            raise KeyboardInterrupt
        tool, given = called
        turn = len([message for message in request.messages if message["role"] == "assistant"])
        call: Block = {"type": "tool_use", "id": f"call_{turn + 1}", "name": tool, "input": given}
        return Reply(content=[call], stop_reason="tool_use", usage=Usage())

    def _said(self, request: Request) -> Answer:
        """The last message. An agent that has just sat down is told the task before it, and how
        far the run is.
        """
        last = request.messages[-1]
        texts, is_error = _texts(last)
        if self._told:
            return Answer(texts, is_error)
        first, calls = request.messages[0], [*_calls(request.messages)]
        if not calls:
            return Answer((request.system, *texts))
        made = (
            f"The run goes on after {len(calls)} calls, the last of them {calls[-1]}; its answer:"
        )
        return Answer((request.system, *_texts(first)[0], made, *texts))


def _texts(message: Message) -> tuple[tuple[str, ...], bool]:
    """What a message to a model says, and whether the call it answers failed."""
    results = [block for block in message["content"] if block["type"] == "tool_result"]
    texts = [block.get("text") or block.get("content") or "" for block in message["content"]]
    return tuple(texts), any(result.get("is_error", False) for result in results)


def _calls(messages: object) -> list[str]:
    """The tools that were called, in their order."""
    assert isinstance(messages, list)
    return [
        block["name"]
        for message in messages
        if message["role"] == "assistant"
        for block in message["content"]
        if block["type"] == "tool_use"
    ]
