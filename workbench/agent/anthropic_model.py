"""Claude over the Messages API, streamed, by the official SDK.

The SDK asks again when a request is refused for now (429, 5xx, no connection). A stream that breaks
off, or has an error in it, it hands on: the API has answered 200 by then. That is asked again here.
"""

from __future__ import annotations

import itertools
import json
import os
import time
from collections.abc import Callable
from typing import Any

import anthropic
import httpx2
from anthropic.types import Message

from workbench.agent.model import Reply, Request
from workbench.agent.prices import Usage, facts
from workbench.agent.redaction import redacted
from workbench.authors import KEY
from workbench.errors import AuthorError, UsageError

# How often the SDK asks again before a stream begins, and how often a stream is begun.
RETRIES, STREAMS = 6, 5
# Between two events of a stream, pings among them.
SILENT_SECONDS = 300.0
_PASSING = frozenset({"overloaded_error", "api_error", "rate_limit_error", "timeout_error"})
_HINTS = {
    401: "the API does not know this key: check ANTHROPIC_API_KEY",
    402: "the account has no credit left",
    403: "this key may not use the model: check the key, or take another --model",
    404: "there is no such model: check --model",
    413: "the conversation is too long for a request: begin a new run",
}
_TOO_LONG = "too long"  # how a 400 says that the prompt is more than the model can read


class _BrokenOff(Exception):
    """A stream that did not end, or not as it should."""


class AnthropicModel:
    """One model of the API at a level of effort. The key is read when it is asked first."""

    def __init__(self, name: str, effort: str | None = None, pause: float = 1.0) -> None:
        self.name, self._effort, self._pause = name, effort, pause
        self._client: anthropic.Anthropic | None = None

    def reply(self, request: Request, begun: Callable[[Usage], None]) -> Reply:
        """Its reply, after as many tries as are worth it.

        Raises:
            AuthorError: the API can't be reached, refuses, or breaks off every time.
            UsageError: there is no key.
        """
        for stream in itertools.count(1):
            try:
                return self._stream(request, begun)
            except anthropic.APIStatusError as error:
                if not (error.status_code == 200 and error.type in _PASSING):
                    raise _refused(error) from error
                problem = str(error.api_message or error.type)
            except anthropic.APIConnectionError as error:
                raise AuthorError(
                    f"the API can't be reached: {error.message}",
                    "check the network and ANTHROPIC_BASE_URL, then resume the run",
                ) from error
            except (_BrokenOff, httpx2.TransportError) as error:
                problem = str(error) or type(error).__name__
            if stream == STREAMS:
                raise AuthorError(
                    f"the API broke off {STREAMS} replies, the last with: {_plain(problem)}",
                    "resume the run when it works again",
                )
            time.sleep(self._pause * 2 ** (stream - 1))
        raise AssertionError("the loop ends by itself")

    def _stream(self, request: Request, begun: Callable[[Usage], None]) -> Reply:
        with self._connected().messages.stream(**self._parameters(request)) as stream:
            try:
                for event in stream:
                    if event.type == "message_start":
                        begun(_usage(event.message))
                message = stream.current_message_snapshot
            except ValueError as error:  # the SDK's word for a tool's input that isn't JSON
                raise _BrokenOff(str(error)) from error
            except AssertionError as error:  # and for a stream in which nothing came
                raise _BrokenOff("nothing came") from error
        if message.stop_reason is None:
            raise _BrokenOff("the stream ended in the middle of a reply")
        content = [block.to_dict() for block in message.content]
        return Reply(
            content=_writable(content), stop_reason=message.stop_reason, usage=_usage(message)
        )

    def _connected(self) -> anthropic.Anthropic:
        if not os.environ.get(KEY):
            raise UsageError(f"{KEY} is not set", f"export {KEY}=sk-..., then resume the run")
        if self._client is None:
            timeout = httpx2.Timeout(SILENT_SECONDS, connect=10.0)
            self._client = anthropic.Anthropic(max_retries=RETRIES, timeout=timeout)
        return self._client

    def _parameters(self, request: Request) -> dict[str, Any]:
        """The request in the SDK's words. What every request begins with is cached for an hour, as
        a verdict may take minutes; what was said last, for five minutes.
        """
        cached = {"type": "ephemeral", "ttl": "1h"}
        found: dict[str, Any] = {
            "model": self.name,
            "max_tokens": request.max_tokens,
            "system": [{"type": "text", "text": request.system, "cache_control": cached}],
            "tools": list(request.tools),
            "messages": list(request.messages),
            "cache_control": {"type": "ephemeral"},
        }
        if facts(self.name).thinking == "adaptive":
            found["thinking"] = {"type": "adaptive"}
        if self._effort is not None:
            found["output_config"] = {"effort": self._effort}
        return found


def _writable(content: list[dict[str, object]]) -> list[dict[str, object]]:
    """The same without halves of characters, which JSON can say and no file can have."""
    found: list[dict[str, object]] = json.loads(
        json.dumps(content, ensure_ascii=False).encode("utf-8", "replace")
    )
    return found


def _usage(message: Message) -> Usage:
    """The API's fields; a write to the cache of an unsaid lifetime counts as the dearer."""
    usage, created = message.usage, message.usage.cache_creation
    written = usage.cache_creation_input_tokens or 0
    short = created.ephemeral_5m_input_tokens if created is not None else 0
    return Usage(
        input=usage.input_tokens,
        output=usage.output_tokens,
        cache_read=usage.cache_read_input_tokens or 0,
        cache_write_5m=min(short, written),
        cache_write_1h=max(written - short, 0),
    )


def _refused(error: anthropic.APIStatusError) -> AuthorError:
    said = _plain(str(error.api_message or error.message))
    status = 413 if _TOO_LONG in said else error.status_code
    hint = _HINTS.get(status, "resume the run when it works again")
    kind = f"{error.status_code} {error.type or ''}".strip()
    return AuthorError(f"the API refused the request ({kind}): {said}", hint)


def _plain(text: str) -> str:
    """The first line of what the API said, without what must not be kept."""
    return redacted(text).strip().partition("\n")[0][:500]
