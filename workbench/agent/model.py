"""The seam to a model: one request in, one finished reply out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pydantic import BaseModel, ConfigDict

from workbench.agent.prices import Usage
from workbench.errors import AuthorError

Block = dict[str, Any]
Message = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Request:
    """All that a model is told. `messages` are as the Messages API takes them."""

    system: str
    tools: Sequence[dict[str, Any]]
    messages: Sequence[Message]
    max_tokens: int


class Reply(BaseModel):
    """What a model said, in the API's own blocks, why it stopped, and what was counted."""

    model_config = ConfigDict(frozen=True)

    content: list[Block]
    stop_reason: str
    usage: Usage

    @property
    def calls(self) -> list[Block]:
        """The tools it wants called."""
        return [block for block in self.content if block["type"] == "tool_use"]


class Model(Protocol):
    """Who is asked. `name` is what it is priced by."""

    name: str

    def reply(self, request: Request, begun: Callable[[Usage], None]) -> Reply:
        """Its whole reply. `begun` is told when one begins, also of one that breaks off.

        Raises:
            AuthorError: it can't be had.
        """
        ...


class ReplayModel:
    """Says again what a model said in a stored run, whatever it is told."""

    name = "replay"

    def __init__(self, run: str, replies: Sequence[Reply]) -> None:
        self._run, self._replies = run, replies

    def reply(self, request: Request, begun: Callable[[Usage], None]) -> Reply:
        """The next reply, which depends only on how many there were.

        Raises:
            AuthorError: the stored run has no more.
        """
        said = len([message for message in request.messages if message["role"] == "assistant"])
        if said >= len(self._replies):
            raise AuthorError(f"run {self._run} ends after {said} replies, and so does its replay")
        return self._replies[said]
